/* Finds the rollout that decides what becomes of runs that are reported together. */
#include <string.h>

#include "fleet/report_parts.h"

/* Whether another run of the same shard began later: its verdict counts. */
static bool is_superseded(const struct qb_reports *r, size_t part)
{
    const struct qb_part *p = &r->shown.items[part];

    for (size_t i = 0; p->origin->shard.of && i < r->shown.n; i++) {
        const struct qb_part *q = &r->shown.items[i];

        if (q->origin->shard.of == p->origin->shard.of &&
            q->origin->shard.number == p->origin->shard.number &&
            strcmp(q->name ? q->name : "", p->name ? p->name : "") == 0 &&
            (q->origin->started > p->origin->started ||
             (q->origin->started == p->origin->started && i > part)))
            return true;
    }
    return false;
}

/* A step that failed comes before one that waits for an answer, and both before all others. */
static int weight(const struct qb_rollout_sum *rollout)
{
    switch (rollout->steps[rollout->step].verdict) {
    case QB_GATE_FAILED:
        return 3;
    case QB_GATE_ASKED:
        return 2;
    default:
        return 1;
    }
}

void qb_reports_judge(struct qb_reports *r)
{
    int most = 0;

    for (size_t i = 0; i < r->shown.n; i++) {
        const struct qb_rollout_sum *rollout = r->shown.items[i].rollout;

        if (!rollout || weight(rollout) <= most || is_superseded(r, i))
            continue;
        most = weight(rollout);
        r->sum.rollout = *rollout;
    }
}
