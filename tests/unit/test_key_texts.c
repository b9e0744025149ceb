/* Each key's text sets the value that it was made of: what saved plans rely on. */
#include <string.h>

#include "job/keys.h"
#include "unit.h"

/* Calls fn with each example of a key. */
static void each_example(const struct qb_key_row *key,
                         void (*fn)(const struct qb_key_row *key, const char *text))
{
    char all[400], *rest = all, *text;

    snprintf(all, sizeof(all), "%s", key->good ? key->good : "");
    while ((text = strsep(&rest, "|")))
        if (key->kind != QB_KIND_GROUP && key->kind != QB_KIND_MAPPINGS)
            fn(key, text);
}

static void check_amend(const struct qb_key_row *key, const char *text)
{
    const char *words[QB_KEYS_MAX], *const *texts;
    struct qb_request a, b;
    struct qb_batch batch;
    char buf[QB_KEY_TEXT];
    struct qb_why why;

    qb_batch_init(&batch);
    qb_request_init(&a);
    qb_request_init(&b);
    CU_ASSERT(qb_key_set(key, text, &batch, &a, &why));
    if (qb_key_is_list(key)) {
        size_t n = qb_key_texts(key, &a, words, &texts);

        CU_ASSERT(qb_list_set(key, texts, n, &batch, &b, &why));
    } else {
        CU_ASSERT(qb_key_set(key, qb_key_text(key, &a, buf), &batch, &b, &why));
    }
    CU_ASSERT_EQUAL(a.set, b.set);
    CU_ASSERT_EQUAL(a.size_is, b.size_is);
    if (key->kind != QB_KIND_TEXT && key->kind != QB_KIND_FORMAT && key->kind != QB_KIND_NAMES)
        CU_ASSERT_FALSE(qb_key_differs(key, &a, &b)); /* those are pointers */
    qb_batch_free(&batch);
}

static void check_setting(const struct qb_key_row *key, const char *text)
{
    struct qb_settings a = {.policy = {.max_growth = UINT64_MAX}}, b = a;
    char buf[QB_KEY_TEXT];
    struct qb_why why;

    if (key->kind == QB_KIND_NAMES || key->kind == QB_KIND_COMMAND || key->kind == QB_KIND_AMOUNTS)
        return;
    CU_ASSERT(qb_setting_set(key, text, &a, &why));
    CU_ASSERT(qb_setting_set(key, qb_key_text(key, &a, buf), &b, &why));
    CU_ASSERT_FALSE(qb_key_differs(key, &a, &b));
    if (qb_key_differs(key, &a, &b))
        fprintf(stderr, "%s: %s became %s\n", key->name, text, buf);
}

static void a_text_sets_what_it_was_made_of(void)
{
    qb_keys_each (key, QB_SECTION_amend)
        each_example(key, check_amend);
}

static void so_does_that_of_a_setting(void)
{
    qb_keys_each (key, QB_SECTION_policy)
        each_example(key, check_setting);
    qb_keys_each (key, QB_SECTION_limits)
        each_example(key, check_setting);
    qb_keys_each (key, QB_SECTION_rollout)
        each_example(key, check_setting);
}

static void steps_are_read_as_the_texts_that_they_are_written_as(void)
{
    static const char *const texts[] = {"1", "3", "10%", "10%", "500"};
    const struct qb_key_row *key = qb_setting_find("rollout", "steps");
    struct qb_settings a = {.policy = {.max_growth = UINT64_MAX}}, b = a;
    struct qb_batch batch;
    char buf[QB_KEY_TEXT];
    struct qb_why why;

    qb_batch_init(&batch);
    CU_ASSERT_FATAL(qb_steps_set(key, texts, 5, &batch, &a, &why));
    CU_ASSERT_EQUAL_FATAL(a.rollout.steps.n, 5);
    for (size_t i = 0; i < 5; i++)
        CU_ASSERT_STRING_EQUAL(qb_amount_text(&a.rollout.steps.items[i], buf), texts[i]);
    CU_ASSERT(qb_key_differs(key, &a, &b));
    CU_ASSERT(qb_steps_set(key, texts, 4, &batch, &b, &why) && qb_key_differs(key, &a, &b));
    CU_ASSERT(qb_steps_set(key, texts, 5, &batch, &b, &why) && !qb_key_differs(key, &a, &b));
    qb_batch_free(&batch);
}

static void steps_that_cannot_be_are_refused(void)
{
    static const char *const bad[][2] = {{"0", NULL},  {"0%", NULL}, {"101%", NULL}, {"x", NULL},
                                         {"-1", NULL}, {"3", "2"},   {"10%", "9%"},  {"", NULL}};
    const struct qb_key_row *key = qb_setting_find("rollout", "steps");
    const char *many[QB_STEPS_MAX];
    struct qb_settings s = {.policy = {.max_growth = UINT64_MAX}};
    struct qb_batch batch;
    struct qb_why why;

    qb_batch_init(&batch);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_FALSE(qb_steps_set(key, bad[i], bad[i][1] ? 2 : 1, &batch, &s, &why));
    for (size_t i = 0; i < QB_STEPS_MAX; i++)
        many[i] = "7";
    CU_ASSERT_FALSE(qb_steps_set(key, many, 0, &batch, &s, &why));
    CU_ASSERT_FALSE(qb_steps_set(key, many, QB_STEPS_MAX, &batch, &s, &why));
    CU_ASSERT_EQUAL(s.rollout.steps.n, 0);
    CU_ASSERT(qb_steps_set(key, many, QB_STEPS_MAX - 1, &batch, &s, &why));
    qb_batch_free(&batch);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_text_sets_what_it_was_made_of),
        UNIT(so_does_that_of_a_setting),
        UNIT(steps_are_read_as_the_texts_that_they_are_written_as),
        UNIT(steps_that_cannot_be_are_refused),
    };

    return unit_main("key_texts", tests, UNIT_COUNT(tests));
}
