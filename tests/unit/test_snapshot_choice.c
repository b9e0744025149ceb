/* Which snapshots a request deletes. */
#include <string.h>

#include "plan/snapshot_choice.h"
#include "unit.h"

#define NOW 2000000000u

struct made {
    const char *id, *name;
    uint32_t sec, nsec;
};

/* The dates do not ascend, and two are the same. */
static const struct made made[] = {
    {"1", "all", NOW - 500, 0}, {"2", "auto-b", NOW - 100, 5}, {"3", "auto-a", NOW - 300, 0},
    {"4", "2", NOW - 300, 0},   {"", "", NOW + 7, 0},          {"six", "", NOW - 100, 0},
};
enum { N = UNIT_COUNT(made) };

static uint8_t entries[N][80];

static struct qb_image image(void)
{
    struct qb_image img = {.header.nb_snapshots = N};

    for (size_t i = 0; i < N; i++) {
        struct qb_disk_snapshot d = {.date_sec = be32_of(made[i].sec),
                                     .date_nsec = be32_of(made[i].nsec)};
        struct qb_snapshot s = {.id_len = (uint16_t)strlen(made[i].id),
                                .name_len = (uint16_t)strlen(made[i].name),
                                .raw = entries[i]};

        memcpy(entries[i], &d, sizeof(d));
        memcpy(entries[i] + sizeof(d), made[i].id, s.id_len);
        memcpy(entries[i] + sizeof(d) + s.id_len, made[i].name, s.name_len);
        if (!qb_vec_push(&img.snapshots.list, s))
            abort();
    }
    return img;
}

/* The chosen ones as "1" at their places; "" when the request is refused. */
static const char *chosen(struct qb_request rq)
{
    static char out[N + 1];
    struct qb_image img = image();
    uint8_t *deleted = NULL;
    struct qb_err err;
    uint32_t n = 0;

    rq.now = NOW;
    out[0] = '\0';
    if (qb_snapshots_choose(&img, &rq, &deleted, &n, &err) == 0) {
        memset(out, '.', N);
        for (size_t i = 0; deleted && i < N; i++)
            if (deleted[i]) {
                out[i] = '1';
                n--;
            }
        CU_ASSERT_EQUAL(n, 0);
    } else {
        CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
    }
    free(deleted);
    qb_vec_free(&img.snapshots.list);
    return out;
}

#define CHOSEN(expected, ...)                                                                      \
    CU_ASSERT_STRING_EQUAL(chosen((struct qb_request){__VA_ARGS__}), expected)
#define NAMED(...)                                                                                 \
    .snapshots_delete = {(const char *const[]){__VA_ARGS__},                                       \
                         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)}

static void names_are_patterns_and_no_ids(void)
{
    CHOSEN("111111", NAMED("*"));
    CHOSEN("1.....", NAMED("all"));
    CHOSEN(".11...", NAMED("auto-?"));
    CHOSEN("...1..", NAMED("2"));
    CHOSEN("......", NAMED("1"));
    CHOSEN("1..1..", NAMED("none", "all", "2"));
}

static void a_snapshot_without_a_name_goes_by_its_id(void)
{
    CHOSEN(".....1", NAMED("s*"));
    CHOSEN("....1.", NAMED(""));
}

static void age_is_counted_from_now(void)
{
    CHOSEN("1.....", .snapshots_older_than = 300);
    CHOSEN("1.11..", .snapshots_older_than = 299.5);
    CHOSEN("1.11..", .snapshots_older_than = 100);
    CHOSEN("1.11.1", .snapshots_older_than = 99.999999998);
    CHOSEN("1111.1", .snapshots_older_than = 1e-300, NAMED("[!x]*", ""));
    CHOSEN("......", .snapshots_older_than = 1e18);
}

static void the_newest_candidates_stay(void)
{
    CHOSEN("1111.1", .snapshots_keep_newest = 1);
    CHOSEN("1.11.1", .snapshots_keep_newest = 2);
    CHOSEN("1.11..", .snapshots_keep_newest = 3);
    CHOSEN("1.1...", .snapshots_keep_newest = 4); /* of two, the one further behind is newer */
    CHOSEN("......", .snapshots_keep_newest = 6);
    CHOSEN("......", .snapshots_keep_newest = UINT64_MAX);
    CHOSEN("..1...", .snapshots_keep_newest = 1, NAMED("auto-*"));
}

static void old_ones_among_the_newest_stay(void)
{
    CHOSEN("1.1...", .snapshots_keep_newest = 4, .snapshots_older_than = 100);
    CHOSEN("1.....", .snapshots_keep_newest = 4, .snapshots_older_than = 300);
    CHOSEN("......", .snapshots_keep_newest = 2, .snapshots_older_than = 1, NAMED("auto-*"));
}

static void a_request_must_ask_for_something(void)
{
    CHOSEN("", .now = 0);
    CHOSEN("", .snapshots_older_than = -1);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(names_are_patterns_and_no_ids),  UNIT(a_snapshot_without_a_name_goes_by_its_id),
        UNIT(age_is_counted_from_now),        UNIT(the_newest_candidates_stay),
        UNIT(old_ones_among_the_newest_stay), UNIT(a_request_must_ask_for_something),
    };

    return unit_main("snapshot_choice", tests, UNIT_COUNT(tests));
}
