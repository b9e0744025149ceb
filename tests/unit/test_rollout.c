/* Which images each step of a rollout draws: the order, and the arithmetic of the steps; and
 * reports that have them. */
#include <stdio.h>
#include <string.h>

#include "outcome/outcome.h"
#include "record/report_read.h"
#include "rollout/draw.h"
#include "unit.h"

static struct qb_rollout rollout_of(const struct qb_amount *steps, size_t n)
{
    return (struct qb_rollout){.steps = {steps, n}};
}

#define NUMBER(k)                                                                                  \
    {                                                                                              \
        .n = (k), .is_set = true                                                                   \
    }
#define SHARE(k)                                                                                   \
    {                                                                                              \
        .n = (k), .is_percent = true, .is_set = true                                               \
    }

static void shares_are_of_all_images_and_rounded_up(void)
{
    static const struct {
        struct qb_amount step;
        uint64_t images, expected;
    } rows[] = {
        {NUMBER(7), 3, 7},   {SHARE(1), 100, 1},     {SHARE(1), 101, 2},
        {SHARE(1), 1, 1},    {SHARE(10), 517, 52},   {SHARE(100), 517, 517},
        {SHARE(50), 99, 50}, {SHARE(33), 1000, 330}, {SHARE(100), UINT64_MAX, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(qb_step_images(rows[i].step, rows[i].images), rows[i].expected);
}

static void steps_never_shrink_and_end_with_all(void)
{
    static const struct qb_amount steps[] = {NUMBER(10), SHARE(1), SHARE(50), NUMBER(900)};
    struct qb_rollout rollout = rollout_of(steps, 4);
    uint64_t targets[QB_STEPS_MAX];

    CU_ASSERT_EQUAL(qb_step_targets(&rollout, 200, targets), 5);
    CU_ASSERT_EQUAL(targets[0], 10);
    CU_ASSERT_EQUAL(targets[1], 10);
    CU_ASSERT_EQUAL(targets[2], 100);
    CU_ASSERT_EQUAL(targets[3], 200);
    CU_ASSERT_EQUAL(targets[4], 200);
}

static void begin(struct qb_drawing *d, const struct qb_rollout *rollout, uint64_t images)
{
    qb_drawing_begin(d, rollout, images, &(struct qb_rollout_past){0});
}

static void what_is_under_way_counts_until_it_has_a_result(void)
{
    static const struct qb_amount steps[] = {NUMBER(2)};
    struct qb_rollout rollout = rollout_of(steps, 1);
    struct qb_drawing d;

    begin(&d, &rollout, 10);
    for (unsigned i = 0; i < 2; i++) {
        CU_ASSERT_TRUE(qb_drawing_goes_on(&d));
        qb_drawing_drew(&d, false);
    }
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    qb_drawing_over(&d, false); /* skipped: the next one is drawn */
    CU_ASSERT_TRUE(qb_drawing_goes_on(&d));
    qb_drawing_drew(&d, false);
    qb_drawing_over(&d, true);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    qb_drawing_over(&d, true);
    CU_ASSERT_EQUAL(d.open, 0);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    qb_drawing_next(&d);
    CU_ASSERT_TRUE(qb_drawing_is_last(&d));
    CU_ASSERT_TRUE(qb_drawing_goes_on(&d));
}

static void an_overlay_comes_along_with_its_backing_file_even_past_the_step(void)
{
    static const struct qb_amount steps[] = {NUMBER(1)};
    struct qb_rollout rollout = rollout_of(steps, 1);
    struct qb_drawing d;

    begin(&d, &rollout, 10);
    qb_drawing_drew(&d, true);
    CU_ASSERT_TRUE(qb_drawing_goes_on(&d));
    qb_drawing_drew(&d, false);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    /* Where the overlay has its result already, nothing else comes along in its place. */
    begin(&d, &rollout, 10);
    qb_drawing_drew(&d, true);
    qb_drawing_passed(&d, false);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    /* One that nobody foresaw counts as well. */
    begin(&d, &rollout, 10);
    qb_drawing_pulled(&d);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
}

static void a_resumed_run_continues_in_its_step(void)
{
    static const struct qb_amount steps[] = {NUMBER(1), SHARE(10)};
    struct qb_rollout rollout = rollout_of(steps, 2);
    struct qb_drawing d;

    /* Of 3 images that failed, in a run of 100. */
    qb_drawing_begin(&d, &rollout, 3,
                     &(struct qb_rollout_past){.named = 100, .changed = {1, 7}, .passed = 1});
    CU_ASSERT_EQUAL(d.step, 1);
    CU_ASSERT_EQUAL(d.targets[1], 10);
    qb_drawing_drew(&d, false);
    qb_drawing_drew(&d, false);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    qb_drawing_begin(&d, &rollout, 3,
                     &(struct qb_rollout_past){.named = 100, .changed = {100}, .passed = 17});
    CU_ASSERT_TRUE(qb_drawing_is_last(&d));
    /* An image of the first step was undone, after the second one had passed. */
    qb_drawing_begin(&d, &rollout, 100, &(struct qb_rollout_past){.named = 100, .changed = {0, 9}});
    CU_ASSERT_EQUAL(d.step, 0);
    CU_ASSERT_TRUE(qb_drawing_goes_on(&d));
    qb_drawing_drew(&d, false);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
    qb_drawing_over(&d, true);
    qb_drawing_next(&d);
    CU_ASSERT_EQUAL(d.changed, 10);
    CU_ASSERT_FALSE(qb_drawing_goes_on(&d));
}

static void a_step_may_fail_by_number_and_by_share_of_its_own_images(void)
{
    static const struct qb_amount steps[] = {NUMBER(10), NUMBER(110)};
    struct qb_rollout rollout = rollout_of(steps, 2);
    struct qb_drawing d;

    begin(&d, &rollout, 1000);
    CU_ASSERT_EQUAL(qb_drawing_may_fail(&d, &rollout), 0);
    rollout.gate.max_failed = (struct qb_amount)NUMBER(3);
    CU_ASSERT_EQUAL(qb_drawing_may_fail(&d, &rollout), 3);
    rollout.gate.max_failed = (struct qb_amount)SHARE(19);
    CU_ASSERT_EQUAL(qb_drawing_may_fail(&d, &rollout), 1);
    d.step = 1;
    CU_ASSERT_EQUAL(qb_drawing_may_fail(&d, &rollout), 19);
    d.step = 2;
    CU_ASSERT_EQUAL(qb_drawing_may_fail(&d, &rollout), UINT64_MAX);
}

/* ---- the order ------------------------------------------------------------------------------- */

enum { N = 8, NO = -1 };

/* As text: the jobs, with + after one that the next one comes along with. */
static void show(const int parents[N], const uint64_t keys[N], char *text)
{
    uint32_t of[N], *order;

    for (size_t i = 0; i < N; i++)
        of[i] = parents[i] == NO ? QB_NO_PARENT : (uint32_t)parents[i];
    order = qb_draw_order(N, keys, of);
    *text = '\0';
    for (size_t i = 0; order && i < N; i++)
        sprintf(text + strlen(text), "%u%s", qb_draw_job(order[i]),
                order[i] & QB_DRAW_ALONG ? "+" : " ");
    free(order);
}

static void a_backing_file_stands_before_its_first_overlay_only(void)
{
    static const uint64_t equal[N], keys[N] = {9, 8, 7, 6, 5, 4, 3, 2};
    static const struct {
        int parents[N];
        const uint64_t *keys;
        const char *order;
    } rows[] = {
        {{NO, NO, NO, NO, NO, NO, NO, NO}, equal, "0 1 2 3 4 5 6 7 "},
        {{NO, NO, NO, NO, NO, NO, NO, NO}, keys, "7 6 5 4 3 2 1 0 "},
        /* 0 is under 3 and 5. */
        {{NO, NO, NO, 0, NO, 0, NO, NO}, equal, "1 2 0+3 4 5 6 7 "},
        {{NO, NO, NO, 0, NO, 0, NO, NO}, keys, "7 6 0+5 4 3 2 1 "},
        /* A chain of three, the last one of which is the first in the order. */
        {{7, NO, NO, NO, NO, NO, NO, 4}, equal, "4+7+0 1 2 3 5 6 "},
        /* Loops: none of them comes first. */
        {{1, 0, NO, NO, NO, NO, NO, NO}, equal, "2 3 4 5 6 7 1+0 "},
        {{0, NO, NO, NO, NO, NO, NO, NO}, equal, "1 2 3 4 5 6 7 0 "},
        {{1, 2, 1, NO, NO, NO, NO, NO}, equal, "2+1+0 3 4 5 6 7 "},
    };
    char text[200];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        show(rows[i].parents, rows[i].keys, text);
        CU_ASSERT_STRING_EQUAL(text, rows[i].order);
    }
}

/* ---- the end of a run ------------------------------------------------------------------------ */

static void a_failed_step_is_a_failure_whatever_its_images_are(void)
{
    struct qb_summary sum = {.images = 1, .by_status[QB_STATUS_CHANGED] = 1};

    sum.rollout.steps[1].verdict = QB_GATE_FAILED;
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 0);
    sum.rollout.n = 3;
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 0);
    sum.rollout.step = 1;
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 1);
    sum.rollout.steps[1].verdict = QB_GATE_ASKED;
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 4);
    sum.by_status[QB_STATUS_SKIPPED] = sum.by_status[QB_STATUS_FAILED] = 1;
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 4);
    sum.by_status[QB_STATUS_INTERRUPTED] = 1;
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 75);
}

/* A file that claims more steps than there can be, or that another was last, has none. */
static void steps_that_cannot_be_are_not_read(void)
{
    static const struct {
        unsigned steps, step;
        bool is_good;
    } rows[] = {{1, 1, true},   {1, 0, false},  {1, 2, false},   {0, 1, false},    {0, 0, false},
                {32, 32, true}, {33, 1, false}, {33, 33, false}, {200, 200, false}};
    char text[16384];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct qb_read_line line;
        size_t len = (size_t)sprintf(
            text, "{\"type\":\"summary\",\"rollout\":{\"step\":%u,\"why\":null,\"steps\":[",
            rows[i].step);

        for (unsigned k = 0; k < rows[i].steps; k++)
            len += (size_t)sprintf(text + len, "%s{\"images\":%u,\"verdict\":\"%s\"}", k ? "," : "",
                                   k + 1, k == 0 ? "failed" : "of a later version");
        len += (size_t)sprintf(text + len, "]}}");
        CU_ASSERT_PTR_NULL_FATAL(qb_line_read(text, len, &line));
        CU_ASSERT_EQUAL(line.rollout != NULL, rows[i].is_good);
        if (line.rollout) {
            CU_ASSERT(line.rollout->n == rows[i].steps && line.rollout->step == rows[i].step - 1);
            CU_ASSERT(line.rollout->steps[0].verdict == QB_GATE_FAILED);
            CU_ASSERT(line.rollout->steps[line.rollout->n - 1].images == rows[i].steps);
        }
        qb_line_free(&line);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(shares_are_of_all_images_and_rounded_up),
        UNIT(steps_never_shrink_and_end_with_all),
        UNIT(what_is_under_way_counts_until_it_has_a_result),
        UNIT(an_overlay_comes_along_with_its_backing_file_even_past_the_step),
        UNIT(a_resumed_run_continues_in_its_step),
        UNIT(a_step_may_fail_by_number_and_by_share_of_its_own_images),
        UNIT(a_backing_file_stands_before_its_first_overlay_only),
        UNIT(a_failed_step_is_a_failure_whatever_its_images_are),
        UNIT(steps_that_cannot_be_are_not_read),
    };

    return unit_main("rollout", tests, UNIT_COUNT(tests));
}
