/* Conditions and rewrites, as functions: what they read, refuse and answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/conditions.h"
#include "job/backing_rewrite.h"
#include "unit.h"

/* ---- conditions ------------------------------------------------------------------------------ */

/* Of an image that fits every condition in the table below. */
static struct qb_info info_of(void)
{
    return (struct qb_info){.version = 3,
                            .virtual_size = 1 << 20,
                            .refcount_bits = 16,
                            .nb_snapshots = 2,
                            .has_backing_file = true};
}

static const struct {
    const char *name, *holds, *fails;
} pairs[] = {
    {"compat", "1.1", "0.10"},     {"size_min", "1M", "1048577"},
    {"size_max", "1M", "1048575"}, {"allocated_max", "64k", "65535"},
    {"has_backing", "on", "off"},  {"has_snapshots", "yes", "no"},
    {"dirty", "off", "on"},        {"lazy_refcounts", "off", "on"},
    {"refcount_bits", "16", "8"},  {"mtime_before", "2026-01-31T00:00:01Z", "2026-01-31"},
};

static enum qb_condition named(const char *name)
{
    int i = 0;

    while (i < QB_CONDITION_COUNT &&
           strcmp(qb_condition_key((enum qb_condition)i)->name, name) != 0)
        i++;
    return (enum qb_condition)i;
}

static bool holds(enum qb_condition which, const char *text, bool has_file)
{
    struct qb_info info = info_of();
    struct qb_condition_facts facts = {&info, has_file, 64 << 10, 1769817600}; /* 2026-01-31 */
    struct qb_conditions c = {0};
    struct qb_why why;

    CU_ASSERT(qb_condition_set(which, text, &c, &why));
    CU_ASSERT(qb_conditions_broken(&c, &facts) == QB_CONDITION_COUNT ||
              qb_conditions_broken(&c, &facts) == which);
    return qb_conditions_broken(&c, &facts) == QB_CONDITION_COUNT;
}

static void each_condition_holds_where_it_does(void)
{
    CU_ASSERT_EQUAL(UNIT_COUNT(pairs), QB_CONDITION_COUNT);
    for (size_t i = 0; i < UNIT_COUNT(pairs); i++) {
        enum qb_condition which = named(pairs[i].name);

        CU_ASSERT_FATAL(which < QB_CONDITION_COUNT);
        CU_ASSERT(holds(which, pairs[i].holds, true));
        CU_ASSERT(!holds(which, pairs[i].fails, true));
    }
    CU_ASSERT(holds(QB_IF_allocated_max, "0", false));
    CU_ASSERT(holds(QB_IF_mtime_before, "1970-01-02", false));
}

static void every_example_of_the_table_is_read(void)
{
    for (int i = 0; i < QB_CONDITION_COUNT; i++) {
        char *list = strdup(qb_condition_key((enum qb_condition)i)->good);

        for (char *save, *one = strtok_r(list, "|", &save); one; one = strtok_r(NULL, "|", &save)) {
            struct qb_conditions c = {0};
            struct qb_why why;

            CU_ASSERT(qb_condition_set((enum qb_condition)i, one, &c, &why));
            CU_ASSERT_STRING_EQUAL(c.texts[i], one);
        }
        free(list);
    }
}

static void dates_that_are_none_are_refused(void)
{
    static const char *const bad[] = {"2026-02-30",          "yesterday", "2026-13-01", "20260131",
                                      "2026-01-31T00:00:00", "2026-1",    "",           "1"};

    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        struct qb_conditions c = {0};
        struct qb_why why;

        CU_ASSERT(!qb_condition_set(QB_IF_mtime_before, bad[i], &c, &why));
        CU_ASSERT_EQUAL(c.set, 0);
    }
}

/* ---- rewrites -------------------------------------------------------------------------------- */

static const struct {
    const char *from, *to, *name, *result; /* result NULL: the name stays */
} rewrites[] = {
    {"^/mnt/old-nfs/(.*)$", "/srv/vm/\\1", "/mnt/old-nfs/a/b.qcow2", "/srv/vm/a/b.qcow2"},
    {"^/mnt/old-nfs/(.*)$", "/srv/vm/\\1", "/mnt/other/b.qcow2", NULL},
    {"old", "new", "/old/old.raw", "/new/old.raw"},
    {"(a)(b)?", "[\\2\\1\\0]", "xay", "x[aa]y"},
    {"\\.img$", ".raw\\\\", "disk.img", "disk.raw\\"},
    {"^base$", "base", "base", NULL}, /* to itself */
};

static void a_name_is_rewritten_where_it_matches(void)
{
    for (size_t i = 0; i < UNIT_COUNT(rewrites); i++) {
        struct qb_moves *moves = qb_moves_new();
        struct qb_info info = {.has_backing_file = true, .backing_file = rewrites[i].name};
        struct qb_request rq = {0};
        struct qb_why why;
        struct qb_err err;
        char *name;

        CU_ASSERT(qb_moves_add(moves, rewrites[i].from, rewrites[i].to, &why));
        CU_ASSERT(qb_moves_add(moves, rewrites[i].from, "/second", &why)); /* the first counts */
        CU_ASSERT_EQUAL(qb_moves_apply(moves, NULL, NULL, "/vm/a.qcow2", &info, &rq, &name, &err),
                        0);
        CU_ASSERT_EQUAL(rq.set, rewrites[i].result ? QB_KEY_BACKING_FILE : 0);
        if (rewrites[i].result)
            CU_ASSERT_STRING_EQUAL(rq.backing_file, rewrites[i].result);
        free(name);
        qb_moves_free(moves);
    }
}

static void rewrites_that_cannot_work_are_refused(void)
{
    static const struct {
        const char *from, *to;
    } bad[] = {{"(", "a"}, {"a", "\\1"}, {"a", "\\x"}, {"a", "b\\"}, {"a", ""}, {"[z-a]", "b"}};

    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        struct qb_moves *moves = qb_moves_new();
        struct qb_why why = {.text = ""};

        CU_ASSERT(!qb_moves_add(moves, bad[i].from, bad[i].to, &why));
        CU_ASSERT(why.text[0] != '\0');
        qb_moves_free(moves);
    }
}

static void a_name_is_made_relative_to_the_image(void)
{
    static const struct {
        const char *path, *target, *name;
    } cases[] = {
        {"/usr/lib/a.qcow2", "/usr/lib/base.raw", "base.raw"},
        {"/usr/lib/a.qcow2", "/usr/share/base.raw", "../share/base.raw"},
        {"/usr/lib/a.qcow2", "/base.raw", "../../base.raw"},
        {"/usr/lib/a.qcow2", "/usr/library/base.raw", "../library/base.raw"},
        {"/a.qcow2", "/usr/base.raw", "usr/base.raw"},
        {"/usr/lib/a.qcow2", "sub/base.raw", "sub/base.raw"},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        char *name = qb_relative_name(NULL, cases[i].path, cases[i].target);

        CU_ASSERT_STRING_EQUAL(name, cases[i].name);
        free(name);
    }
}

/* ---- windows --------------------------------------------------------------------------------- */

static void a_window_is_open_from_its_first_minute_to_the_one_before_its_last(void)
{
    static const struct {
        unsigned from, to, minute;
        bool open;
    } rows[] = {
        {600, 720, 599, false},  {600, 720, 600, true},    {600, 720, 719, true},
        {600, 720, 720, false},  {1320, 300, 1319, false}, {1320, 300, 1320, true},
        {1320, 300, 1439, true}, {1320, 300, 0, true},     {1320, 300, 299, true},
        {1320, 300, 300, false}, {0, 1, 0, true},          {0, 1, 1, false},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        CU_ASSERT_EQUAL(qb_window_is_open(qb_window_of(rows[i].from, rows[i].to), rows[i].minute),
                        rows[i].open);
    for (unsigned m = 0; m < QB_DAY_MINUTES; m++)
        CU_ASSERT_TRUE(qb_window_is_open(0, m));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_condition_holds_where_it_does),
        UNIT(every_example_of_the_table_is_read),
        UNIT(dates_that_are_none_are_refused),
        UNIT(a_name_is_rewritten_where_it_matches),
        UNIT(rewrites_that_cannot_work_are_refused),
        UNIT(a_name_is_made_relative_to_the_image),
        UNIT(a_window_is_open_from_its_first_minute_to_the_one_before_its_last),
    };

    return unit_main("conditions", tests, UNIT_COUNT(tests));
}
