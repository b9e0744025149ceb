#include "asked_run.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "util/json_read.h"

struct asked_run run;

static void end_now(void)
{
    run.ended++;
}

static void set_deadline(double seconds)
{
    run.deadline = seconds;
}

static int permits(void *arg, const struct qb_limits *limits, struct qb_err *err)
{
    (void)arg;
    return limits->load_percent > 0 && run.loaded
               ? qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "no pressure here")
               : 0;
}

static int reload(void *arg, struct qb_limits *limits, char print[QB_ACT_PRINT], struct qb_err *err)
{
    (void)arg, (void)err;
    *limits = run.manifest;
    snprintf(print, QB_ACT_PRINT, "abc-9");
    return 0;
}

struct qb_ctl_scene begin_asked(void)
{
    static const char *const paths[ASKED_JOBS] = {"/srv/a.qcow2", "/srv/b.qcow2", "/srv/c.qcow2"};
    struct qb_request none;

    memset(&run, 0, sizeof(run));
    run.deadline = -1;
    qb_batch_init(&run.batch);
    qb_request_init(&none);
    snprintf(run.batch.run_id, sizeof(run.batch.run_id), "20260101-000000-abcdef");
    for (size_t i = 0; i < ASKED_JOBS; i++) {
        CU_ASSERT_TRUE(qb_batch_add(&run.batch, paths[i], 1, &none));
        run.batch.jobs[i].named_at = 5;
        run.batch.jobs[i].dev = 7;
        run.batch.jobs[i].ino = 100 + i;
    }
    run.limits = run.manifest = run.batch.limits;
    CU_ASSERT_TRUE(qb_hand_open(&run.hand, ASKED_JOBS, &run.limits));
    return (struct qb_ctl_scene){.batch = &run.batch,
                                 .meter = &run.meter,
                                 .hand = &run.hand,
                                 .limits = &run.limits,
                                 .begun = qb_now() - 10,
                                 .end_now = end_now,
                                 .deadline = set_deadline,
                                 .permits = permits,
                                 .reload = reload};
}

void end_asked(void)
{
    qb_hand_close(&run.hand);
    qb_batch_free(&run.batch);
}

const char *ask_run(const struct qb_ctl_scene *scene, const char *request, bool ok)
{
    static char text[1000];
    char *answer = qb_ctl_answer(scene, request, strlen(request), 4711);
    struct qb_parsed o;
    const char *got;

    snprintf(text, sizeof(text), "?");
    if (!answer || !qb_json_parse(answer, strlen(answer), &o)) {
        free(answer);
        return text;
    }
    CU_ASSERT_EQUAL(qb_json_get_bool(&o, "ok"), ok);
    got = qb_json_get_text(&o, ok ? "text" : "error");
    snprintf(text, sizeof(text), "%s", got ? got : "?");
    qb_json_drop(&o);
    free(answer);
    return text;
}
