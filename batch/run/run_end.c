/* Finishes images: reports, records or requeues them when a wave ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "base/result.h"
#include "run/running.h"

/* How long a lock may be held that everybody would rather wait for than hear of: the kernel keeps a
 * killed program's files, and their locks, until what it had in a ring is done. */
#define LOCK_PATIENCE_SECONDS 0.1

static void remember(struct qb_running *r, size_t job, const struct qb_outcome *outcome,
                     const struct qb_seen *seen)
{
    if (r->options->state)
        qb_state_over(r->options->state, r->batch, &r->batch->jobs[job], &outcome->result, seen,
                      qb_run_step_of(r, job));
}

void qb_run_finish(struct qb_running *r, size_t job, struct qb_outcome *outcome)
{
    struct qb_meter *meter = r->listener->meter;
    bool failed = outcome->result.status == QB_STATUS_FAILED;

    qb_queue_done(r->queue, job);
    qb_suspected_clear(&r->suspected, job);
    qb_hand_is_over(r->options->hand, job);
    qb_run_rolled(r, job, outcome);
    r->done++;
    if (meter) {
        const struct qb_result *result = &outcome->result;

        atomic_fetch_add(&meter->done, 1);
        atomic_fetch_add(&meter->failed, failed);
        if (result->clusters.valid && result->status == QB_STATUS_CHANGED)
            atomic_fetch_add(&meter->clusters,
                             result->clusters.expanded + result->clusters.deallocated);
    }
    qb_hold_put(r->hold, job, outcome);
}

/* An image that no wave took. */
void qb_run_finish_untouched(struct qb_running *r, size_t job, enum qb_status status,
                             enum qb_code code, const char *text)
{
    struct qb_outcome outcome = {.result.status = status};

    qb_outcome_fail(&outcome, code, text);
    if (status == QB_STATUS_FAILED)
        atomic_fetch_add(&r->failures.n, 1);
    if (code != QB_E_CANCELLED)
        remember(r, job, &outcome, &(struct qb_seen){0});
    qb_meter_step(r->listener->meter, &(struct qb_metered){0}, QB_METER_STEPS);
    qb_run_finish(r, job, &outcome);
}

/* Whether a locked image is to be tried again later; otherwise its result is made what the policy
 * says. */
static bool wait_for_lock(struct qb_running *r, size_t job, struct qb_result *result,
                          double *not_before)
{
    const struct qb_policy *policy = &r->batch->policy;
    bool waits = policy->on_locked == QB_ON_LOCKED_WAIT;
    double timeout = waits ? policy->lock_timeout_seconds : LOCK_PATIENCE_SECONDS;
    double at = qb_now(), waited, delay;
    struct qb_err err;

    if (result->status != QB_STATUS_FAILED || result->err.code != QB_E_LOCKED)
        return false;
    if (policy->on_locked != QB_ON_LOCKED_FAIL)
        result->status = QB_STATUS_SKIPPED;
    if (qb_run_stopped(r))
        return false;
    if (!r->locked_since && !(r->locked_since = calloc(r->batch->n_jobs, sizeof(double))))
        return false;
    if (r->locked_since[job] == 0)
        r->locked_since[job] = at;
    waited = at - r->locked_since[job];
    delay = QB_MIN(QB_MAX(waited / 4, 0.1), 2.0);
    *not_before = at + QB_MIN(delay, QB_MAX(timeout - waited, 0.01));
    if (waited < timeout)
        return true;
    if (!waits)
        return false;
    err = (struct qb_err){QB_E_LOCKED, result->err.sys_errno, result->err.offset, ""};
    snprintf(err.text, sizeof(err.text), "%s (waited %.0f s)", result->err.text, waited);
    qb_result_fail(result, &err);
    return false;
}

void qb_run_finish_slot(struct qb_running *r, struct qb_slot *s, struct qb_timing timing)
{
    struct qb_outcome outcome = {
        .result.status = QB_STATUS_FAILED, .timing = timing, .steps = qb_take(&s->steps)};
    double not_before;

    if (s->amend)
        outcome.result = qb_amend_take_result(s->amend);
    else
        qb_outcome_fail(&outcome, QB_E_MEMORY, "out of memory");
    if (!wait_for_lock(r, s->job, &outcome.result, &not_before)) {
        if (outcome.result.status == QB_STATUS_FAILED && !s->failed)
            atomic_fetch_add(&r->failures.n, 1);
        remember(r, s->job, &outcome, &s->seen);
        qb_run_finish(r, s->job, &outcome);
        return;
    }
    qb_outcome_clear(&outcome);
    qb_meter_again(r->listener->meter, &s->metered);
    qb_hand_puts_off(r->options->hand, s->job);
    qb_queue_again(r->queue, s->job, not_before);
}

static void compose_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_running *r = arg;

    (void)io;
    r->listener->compose(r->listener->arg, r->told[i].job, &r->told[i].outcome);
}

/* The results whose turn it is; returns how many. */
static size_t tell_some(struct qb_running *r)
{
    size_t n = 0;

    while (n < QB_TOLD_AT_ONCE && qb_hold_next(r->hold, &r->told[n].job, &r->told[n].outcome))
        n++;
    if (r->listener->compose)
        qb_sched_each(r->sched, n, compose_one, r);
    for (size_t i = 0; i < n; i++) {
        r->listener->image(r->listener->arg, r->told[i].job, &r->told[i].outcome);
        qb_outcome_clear(&r->told[i].outcome);
    }
    return n;
}

void qb_run_tell(struct qb_running *r)
{
    size_t n = tell_some(r);

    if (n == 0)
        return;
    while (n == QB_TOLD_AT_ONCE)
        n = tell_some(r);
    if (r->listener->pause)
        r->listener->pause(r->listener->arg);
}
