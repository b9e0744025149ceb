/* Amend keys that are mappings of keys, and keys that are lists. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/keys.h"
#include "manifest/o_option.h"
#include "unit.h"

static struct qb_batch batch;
static struct qb_diags diags;
static struct qb_request rq;

static int parse(const char *text)
{
    uint64_t listed = 0;

    qb_batch_free(&batch);
    qb_diags_free(&diags);
    qb_batch_init(&batch);
    qb_request_init(&rq);
    return qb_options_parse(text, &batch, &rq, &listed, &diags);
}

/* Whether the n-th mistake is this one, in this column. */
static bool complains(size_t n, enum qb_mistake code, unsigned column)
{
    const struct qb_diag *d = &diags.list.items[n];

    return n < diags.list.n && d->code == code && d->at.column == column;
}

/* The parser of -o remembers lists by their place in the table.  A loop over the keys of a section
 * ends with the section. */
static void sections_follow_in_order_and_the_amend_keys_fit_a_word(void)
{
    size_t n = 0;

    while (n < qb_keys_count && qb_keys[n].section == QB_SECTION_amend)
        n++;
    CU_ASSERT_TRUE(n <= 64);
    for (size_t i = 1; i < qb_keys_count; i++)
        CU_ASSERT_TRUE(qb_keys[i - 1].section <= qb_keys[i].section);
}

/* A key with a dot stands behind the row of its group. */
static void nested_keys_follow_their_group(void)
{
    const struct qb_key_row *group = NULL;

    qb_keys_each (key, QB_SECTION_amend) {
        if (key->kind == QB_KIND_GROUP)
            group = key;
        else if (qb_key_is_nested(key))
            CU_ASSERT_TRUE_FATAL(group && qb_key_is_in(key, group) &&
                                 qb_group_find(group, qb_key_last_name(key)) == key);
    }
    CU_ASSERT_PTR_NOT_NULL(group);
}

/* Clearing a group takes back all that its keys have set, and nothing beside it. */
/* The first member of a key in any group: all that comes before is of other keys. */
static size_t first_nested(void)
{
    size_t first = sizeof(struct qb_request);

    qb_keys_each (key, QB_SECTION_amend)
        if (qb_key_is_nested(key) && key->field < first)
            first = key->field;
    return first;
}

static void a_group_is_cleared_whole(void)
{
    static const struct qb_bitmap_merge one_item = {.to = "a"}; /* the largest of them */
    struct qb_request before;

    qb_keys_each (group, QB_SECTION_amend) {
        if (group->kind != QB_KIND_GROUP)
            continue;
        memset(&rq, 0x5a, sizeof(rq));
        before = rq;
        qb_group_each(key, group)
        {
            char *copy = strdup(key->good), *rest;
            struct qb_why why;

            before.set &= ~key->bit;
            CU_ASSERT_TRUE(key->kind == QB_KIND_MAPPINGS
                               ? qb_mappings_set(key, &one_item, 1, &batch, &rq)
                               : qb_key_set(key, strtok_r(copy, "|", &rest), &batch, &rq, &why));
            free(copy);
        }
        qb_group_clear(group, &rq);
        qb_group_each(key, group)
        {
            const char *text;
            uint64_t number;

            qb_key_get(key, &rq, &number, &text);
            CU_ASSERT_TRUE(number == 0 && !text);
        }
        CU_ASSERT_EQUAL(rq.set, before.set);
        CU_ASSERT_EQUAL(memcmp(&rq.compat, &before.compat,
                               first_nested() - offsetof(struct qb_request, compat)),
                        0);
    }
}

static bool names_are(const struct qb_name_list *names, size_t n, const char *const *texts)
{
    if (names->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(names->items[i], texts[i]) != 0)
            return false;
    return true;
}

/* Within one -o and from one to the next; what a manifest had is replaced by the first. */
static void texts_of_a_list_add_up(void)
{
    static const char *const two[] = {"a,b", "c=d"}, *const three[] = {"a,b", "c=d", "*"};
    uint64_t listed = 0;

    CU_ASSERT_EQUAL(parse("bitmaps.remove=a,,b,bitmaps.remove=c=d"), 0);
    CU_ASSERT_EQUAL(rq.set, QB_KEY_BITMAPS);
    CU_ASSERT_TRUE(names_are(&rq.bitmaps_remove, 2, two));
    qb_diags_free(&diags);
    CU_ASSERT_EQUAL(qb_options_parse("bitmaps.remove=a,,b", &batch, &rq, &listed, &diags), 0);
    CU_ASSERT_TRUE(names_are(&rq.bitmaps_remove, 1, two));
    qb_diags_free(&diags);
    CU_ASSERT_EQUAL(
        qb_options_parse("bitmaps.remove=c=d,bitmaps.remove=*", &batch, &rq, &listed, &diags), 0);
    CU_ASSERT_TRUE(names_are(&rq.bitmaps_remove, 3, three));
    CU_ASSERT_EQUAL(parse("bitmaps.remove="), -1);
    CU_ASSERT_TRUE(complains(0, QB_M_BAD_VALUE, 16));
}

static void a_group_takes_no_value_and_names_its_keys(void)
{
    CU_ASSERT_EQUAL(parse("bitmaps=x,bitmaps,bitmaps.remov=a"), -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 3);
    CU_ASSERT_TRUE(complains(0, QB_M_UNKNOWN_KEY, 1));
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[0].text, "bitmaps.remove="));
    CU_ASSERT_TRUE(complains(1, QB_M_UNKNOWN_KEY, 11));
    CU_ASSERT_STRING_EQUAL(diags.list.items[2].did_you_mean, "bitmaps.remove");
}

/* The second -o goes on with the items of the first; the first of the line replaces the manifest's.
 */
static void mappings_are_numbered(void)
{
    uint64_t listed = 0;

    CU_ASSERT_EQUAL(
        parse("bitmaps.add.0.name=a,,b,bitmaps.add.0.granularity=4k,bitmaps.add.1.name=c"), 0);
    CU_ASSERT_EQUAL(rq.set, QB_KEY_BITMAPS);
    CU_ASSERT_EQUAL_FATAL(rq.bitmaps_add.n, 2);
    CU_ASSERT_STRING_EQUAL(rq.bitmaps_add.items[0].name, "a,b");
    CU_ASSERT_EQUAL(rq.bitmaps_add.items[0].granularity, 4096);
    CU_ASSERT_EQUAL(rq.bitmaps_add.items[1].granularity, 0);
    qb_diags_free(&diags);
    CU_ASSERT_EQUAL(qb_options_parse("bitmaps.add.0.name=d", &batch, &rq, &listed, &diags), 0);
    CU_ASSERT_EQUAL(rq.bitmaps_add.n, 1);
    CU_ASSERT_EQUAL(rq.bitmaps_add.items[0].granularity, 0);
    qb_diags_free(&diags);
    CU_ASSERT_EQUAL(qb_options_parse("bitmaps.add.0.disabled=on,bitmaps.add.1.name=e", &batch, &rq,
                                     &listed, &diags),
                    0);
    CU_ASSERT_EQUAL_FATAL(rq.bitmaps_add.n, 2);
    CU_ASSERT_STRING_EQUAL(rq.bitmaps_add.items[0].name, "d");
    CU_ASSERT_TRUE(rq.bitmaps_add.items[0].disabled);
    CU_ASSERT_EQUAL(parse("bitmaps.merge.0.from=a,bitmaps.merge.0.from=b,bitmaps.merge.0.to=c"), 0);
    CU_ASSERT_EQUAL_FATAL(rq.bitmaps_merge.n, 1);
    CU_ASSERT_EQUAL_FATAL(rq.bitmaps_merge.items[0].from.n, 2);
    CU_ASSERT_STRING_EQUAL(rq.bitmaps_merge.items[0].from.items[1], "b");
}

static void mappings_that_are_not_whole_are_a_mistake(void)
{
    static const struct {
        const char *text;
        enum qb_mistake code;
        unsigned column;
    } wrong[] = {
        {"size=1G,bitmaps.rename.0.from=a", QB_M_MISSING_KEY, 1},
        {"bitmaps.rename.1.from=a,bitmaps.rename.1.to=b", QB_M_BAD_VALUE, 1},
        {"size=1G,bitmaps.add=a", QB_M_UNKNOWN_KEY, 9},
        {"bitmaps.add.0.nam=a", QB_M_UNKNOWN_KEY, 1},
        {"bitmaps.add.00.name=a", QB_M_UNKNOWN_KEY, 1},
        {"bitmaps.add.-1.name=a", QB_M_UNKNOWN_KEY, 1},
        {"bitmaps.add.9999999.name=a", QB_M_UNKNOWN_KEY, 1},
        {"bitmaps.add.name=a", QB_M_UNKNOWN_KEY, 1},
        {"bitmaps.add.0.name", QB_M_NO_VALUE, 1},
        {"bitmaps.add.0.name=", QB_M_BAD_VALUE, 20},
        {"bitmaps.add.0.granularity=3k", QB_M_BAD_VALUE, 27},
    };

    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        CU_ASSERT_EQUAL(parse(wrong[i].text), -1);
        if (!complains(0, wrong[i].code, wrong[i].column))
            fprintf(stderr, "%s\n", wrong[i].text);
        CU_ASSERT_TRUE(complains(0, wrong[i].code, wrong[i].column));
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(sections_follow_in_order_and_the_amend_keys_fit_a_word),
        UNIT(nested_keys_follow_their_group),
        UNIT(a_group_is_cleared_whole),
        UNIT(texts_of_a_list_add_up),
        UNIT(a_group_takes_no_value_and_names_its_keys),
        UNIT(mappings_are_numbered),
        UNIT(mappings_that_are_not_whole_are_a_mistake),
    };
    int rc = unit_main("key_groups", tests, UNIT_COUNT(tests));

    qb_batch_free(&batch);
    qb_diags_free(&diags);
    return rc;
}
