/* Texts of reports: workers make them, once each, before the results are told in their order. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/own.h"
#include "record/report_json.h"
#include "run/run.h"
#include "unit.h"

static void add(struct qb_batch *batch, const char *name)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = QB_KEY_COMPAT;
    rq.compat = 2;
    CU_ASSERT_FATAL(qb_batch_add(batch, name, 0, &rq));
}

enum { MANY = 600 }; /* more than are told at once */

struct texts {
    atomic_size_t made[MANY];
    size_t n;
};

static void compose(void *arg, size_t job, struct qb_outcome *outcome)
{
    struct texts *t = arg;

    atomic_fetch_add(&t->made[job], 1);
    CU_ASSERT_PTR_NULL_FATAL(outcome->composed);
    outcome->composed = calloc(1, sizeof(*outcome->composed));
    outcome->composed->lens[0] = job + 1;
    outcome->composed->texts[0] = strdup("text");
}

static void take_text(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct texts *t = arg;

    CU_ASSERT_EQUAL(job, t->n++);
    CU_ASSERT_EQUAL(atomic_load(&t->made[job]), 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(outcome->composed);
    CU_ASSERT_EQUAL(outcome->composed->lens[0], job + 1);
}

static void each_result_is_composed_once_before_it_is_told(void)
{
    struct qb_batch batch;
    struct texts texts = {0};
    struct qb_listener listener = {.arg = &texts, .compose = compose, .image = take_text};
    struct qb_run_options options = {.jobs = 3, .io = QB_IO_POSIX};
    struct qb_err err;
    char name[20];

    qb_batch_init(&batch);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "missing-%zu", i);
        add(&batch, name);
        batch.jobs[i].already = true; /* known at once */
    }
    CU_ASSERT_EQUAL_FATAL(qb_run(&batch, &options, &listener, &err), 0);
    CU_ASSERT_EQUAL(texts.n, MANY);
    qb_batch_free(&batch);
}

static void the_run_of_a_line_is_the_same_whoever_wrote_it(void)
{
    struct qb_outcome outcome = {.result.status = QB_STATUS_CHANGED};
    struct qb_job job = {.path = (char *)"a.qcow2", .dev = makedev(8, 17), .ino = 12};
    struct qb_batch batch = {.manifest_path = (char *)"m \"1\".yaml",
                             .run_id = "20260101-000000-aaaaaa",
                             .origin = {.host = (char *)"h\xc3\xa4st", .started = 1767225600}};
    QB_AUTO(qb_buf) char *of = qb_json_of_text(&batch);
    size_t n, m;
    QB_AUTO(qb_buf)
    char *own = qb_json_take(qb_json_image(&batch, &job, &outcome, NULL, false), &n);
    QB_AUTO(qb_buf) char *same = qb_json_take(qb_json_image(&batch, &job, &outcome, of, false), &m);

    CU_ASSERT_PTR_NOT_NULL_FATAL(of);
    CU_ASSERT_STRING_EQUAL(own, same);
    CU_ASSERT_EQUAL(n, m);
    CU_ASSERT_PTR_NOT_NULL(strstr(own, "\"device\":\"8:17\",\"inode\":12,"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(own, ",\"of\":{\"run\":\"20260101-000000-aaaaaa\",\"name\":null,\"manifest\":"
                    "\"m \\\"1\\\".yaml\",\"started\":\"2026-01-01T00:00:00Z\",\"host\":"));
    batch.origin.started = 0;
    CU_ASSERT_PTR_NULL(qb_json_of_text(&batch));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_result_is_composed_once_before_it_is_told),
        UNIT(the_run_of_a_line_is_the_same_whoever_wrote_it),
    };

    return unit_main("composed", tests, UNIT_COUNT(tests));
}
