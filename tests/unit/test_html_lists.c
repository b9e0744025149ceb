/* What a page tells of before it lists everything: the largest changes, and the errors in groups.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "page/html_lists.h"
#include "unit.h"

static struct qb_outcome outcome_of(enum qb_status status)
{
    static const struct qb_info info = {
        .version = 2, .virtual_size = 1 << 20, .cluster_size = 1 << 16, .refcount_bits = 16};
    struct qb_outcome o = {.result = {.status = status, .before = &info, .after = &info}};

    o.result.err = (struct qb_failure){.offset = QB_NOWHERE};
    if (status == QB_STATUS_FAILED)
        o.result.err = (struct qb_failure){
            .code = QB_E_CORRUPT, .offset = QB_NOWHERE, .text = "a table is \"odd\" <b>"};
    return o;
}

static void the_largest_changes_are_kept_in_order(void)
{
    struct qb_html_lists lists;

    qb_html_lists_init(&lists);
    for (size_t i = 0; i < 100; i++) {
        struct qb_outcome o = outcome_of(i % 10 ? QB_STATUS_CHANGED : QB_STATUS_UNCHANGED);

        o.result.io.write_bytes = i * 37 % 100;
        o.result.io.zeroed_bytes = 1 << 30; /* which is not written */
        CU_ASSERT(qb_html_lists_add(&lists, i, &o, "x"));
    }
    for (size_t i = 0; i < QB_HTML_LARGEST; i++)
        CU_ASSERT_EQUAL(lists.largest[i].written_bytes, i < 9 ? 99 - i : 89);
    qb_html_lists_free(&lists);
}

/* The section of what did not succeed, of n images. */
static char *reasons_of(size_t n, struct qb_outcome (*of)(size_t i))
{
    struct qb_job *jobs = calloc(n, sizeof(*jobs));
    struct qb_batch batch = {.jobs = jobs, .n_jobs = n};
    struct qb_html_lists lists;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    qb_html_lists_init(&lists);
    for (size_t i = 0; i < n; i++) {
        struct qb_outcome o = of(i);

        jobs[i].path = (char *)"<a>";
        CU_ASSERT(qb_html_lists_add(&lists, i, &o, ""));
    }
    qb_html_put_reasons(f, &lists, &batch);
    fclose(f);
    qb_html_lists_free(&lists);
    free(jobs);
    CU_ASSERT_PTR_NULL(strstr(text, "<a>"));
    return text;
}

static size_t times_in(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static struct qb_outcome all_alike(size_t i)
{
    (void)i;
    return outcome_of(QB_STATUS_FAILED);
}

static void one_error_of_many_images_is_told_once(void)
{
    char *text = reasons_of(2000, all_alike);

    CU_ASSERT_PTR_NOT_NULL(strstr(text, "corrupt: 2,000 images"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "and 1,500 more"));
    CU_ASSERT_EQUAL(times_in(text, "&times; 2,000"), 1);
    CU_ASSERT(strlen(text) < 40000);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<details><summary>and 1,988 more</summary>"));
    CU_ASSERT_EQUAL(times_in(text, "<details"), times_in(text, "</details>"));
    free(text);
    text = reasons_of(18, all_alike);
    CU_ASSERT_EQUAL(times_in(text, "<details"), 1); /* few names are not folded */
    free(text);
}

static struct qb_outcome in_turn(size_t i)
{
    struct qb_outcome o = outcome_of(QB_STATUS_FAILED);

    static const char *const reasons[] = {"reason 0", "reason 1", "reason 2"};

    o.result.err.text = reasons[i % 3];
    if (i % 10 == 0) {
        o.result.err.code = QB_E_WHEN;
        o.result.err.text = "not this one";
    }
    return o;
}

static void equal_reasons_are_one_wherever_their_images_stand(void)
{
    char *text = reasons_of(300, in_turn);

    CU_ASSERT_EQUAL(times_in(text, "<li>"), 3);
    CU_ASSERT_EQUAL(times_in(text, "reason 1"), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "reason 1 <b>&times; 90</b>"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "30 images are left out by <code>when</code>"));
    CU_ASSERT_PTR_NULL(strstr(text, "not this one"));
    free(text);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_largest_changes_are_kept_in_order),
        UNIT(one_error_of_many_images_is_told_once),
        UNIT(equal_reasons_are_one_wherever_their_images_stand),
    };

    return unit_main("html_lists", tests, UNIT_COUNT(tests));
}
