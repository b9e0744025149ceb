/* What a confined process may have run by its helper: not without end, and not any numbers. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"
#include "wave/run_errands.h"

enum { FILE_ROOM = 64 };

static char said[FILE_ROOM] = "/tmp/qbatch-errands-XXXXXX";

/* How often a command was run: each writes a byte. */
static long runs(void)
{
    struct stat st;

    return stat(said, &st) == 0 ? (long)st.st_size : -1;
}

struct asked {
    struct qb_batch batch;
    struct qb_confining confining;
    struct qb_run_errands errands;
};

static void begin(struct asked *a)
{
    static char line[FILE_ROOM + 40];
    static const char *words[] = {"/bin/sh", "-c", line};
    static struct qb_amount steps[] = {{.n = 1}, {.n = 2}};
    struct qb_request rq;

    snprintf(line, sizeof(line), "printf x >> %s", said);
    qb_request_init(&rq);
    qb_batch_init(&a->batch);
    CU_ASSERT_TRUE_FATAL(qb_batch_add(&a->batch, "/nonexistent", 0, &rq));
    a->batch.policy.extend_command = a->batch.rollout.gate.command =
        (struct qb_name_list){words, 3};
    a->batch.rollout.steps = (struct qb_amounts){steps, 2};
    qb_confining_init(&a->confining, &a->batch, false);
    CU_ASSERT_EQUAL_FATAL(qb_run_errands_offer(&a->errands, &a->confining, NULL, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_opening_begin(&a->confining.opening, 1, NULL, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_helper_start(&a->confining.helper, &a->confining.errands, 1, NULL), 0);
    CU_ASSERT_EQUAL(truncate(said, 0), 0);
}

static void end(struct asked *a)
{
    qb_confining_end(&a->confining);
    qb_run_errands_free(&a->errands);
    a->batch.policy.extend_command.n = a->batch.rollout.gate.command.n = 0;
    a->batch.rollout.steps.n = 0;
    qb_batch_free(&a->batch);
}

static void a_device_is_not_extended_without_end(void)
{
    static const uint64_t bad[] = {0, 1, 513, (uint64_t)INT64_MAX + 1, UINT64_MAX - 511};
    struct asked a;
    struct qb_err err;
    unsigned done = 0;

    begin(&a);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(qb_run_extend(&a.errands, &a.batch, 0, bad[i], NULL, &err), -1);
    CU_ASSERT_EQUAL(qb_run_extend(&a.errands, &a.batch, 1, 512, NULL, &err), -1); /* no image */
    CU_ASSERT_EQUAL(runs(), 0);
    for (unsigned i = 0; i < 50; i++)
        done += qb_run_extend(&a.errands, &a.batch, 0, 512, NULL, &err) == 0;
    CU_ASSERT_TRUE(done >= 1 && done <= 10);
    CU_ASSERT_EQUAL(runs(), (long)done);
    end(&a);
}

static void a_gate_is_asked_once_for_each_step(void)
{
    static const struct qb_gate_numbers bad[] = {
        {.step = 0, .steps = 3}, {.step = 4, .steps = 3}, {.step = 1, .steps = 4}};
    struct asked a;
    struct qb_err err;

    begin(&a);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(qb_run_gate(&a.errands, &a.batch, &bad[i], NULL, &err), -1);
    CU_ASSERT_EQUAL(runs(), 0);
    for (unsigned i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(qb_run_gate(&a.errands, &a.batch,
                                    &(struct qb_gate_numbers){.step = i % 3 + 1, .steps = 3}, NULL,
                                    &err),
                        i < 3 ? 0 : -1);
    CU_ASSERT_EQUAL(runs(), 3);
    end(&a);
}

int main(void)
{
    static const struct unit_test tests[] = {UNIT(a_device_is_not_extended_without_end),
                                             UNIT(a_gate_is_asked_once_for_each_step)};
    int fd = mkstemp(said), rc;

    if (fd < 0)
        return 2;
    close(fd);
    rc = unit_main("run_errands", tests, UNIT_COUNT(tests));
    unlink(said);
    return rc;
}
