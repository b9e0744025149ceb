/* Whether a run goes on: failures, interruption, a busy host. */
#include <stdio.h>

#include "batch/neighbour.h"
#include "batch/running.h"

size_t qb_run_failures_in(const struct qb_wave *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++) {
        const struct qb_slot *s = &w->slots[i];
        const struct qb_result *result = s->amend ? qb_amend_result(s->amend) : NULL;

        n += s->step == QB_STEP_OVER && result && result->status == QB_STATUS_FAILED &&
             result->err.code != QB_E_LOCKED;
    }
    return n;
}

bool qb_run_has_too_many_failures(const struct qb_running *r)
{
    const struct qb_policy *p = &r->batch->policy;
    uint64_t most = p->max_failed;
    size_t n = r->n_failed;

    if (!p->has_max_failed)
        return false;
    if (p->max_failed_percent)
        most = r->batch->n_jobs * p->max_failed / 100;
    for (size_t i = 0; i < QB_WAVES; i++)
        n += qb_run_failures_in(&r->waves[i]);
    return n > most;
}

bool qb_run_goes_on(const struct qb_running *r)
{
    return !qb_run_stopped(r) && !(r->failed && r->batch->policy.on_error == QB_ON_ERROR_STOP) &&
           !qb_run_has_too_many_failures(r);
}

bool qb_run_is_held_back(struct qb_running *r)
{
    double limit = r->batch->limits.load_percent, now_percent;
    char text[160];

    if (limit <= 0)
        return false;
    now_percent = qb_pressure_now();
    if (now_percent <= limit)
        return false;
    if (!r->waits && r->listener->notice) {
        snprintf(text, sizeof(text),
                 "waiting: this host waited %.0f%% of the last ten seconds for its disks "
                 "(limits.load: %g%%)",
                 now_percent, limit);
        r->listener->notice(r->listener->arg, text);
    }
    return r->waits = true;
}
