/* Holds the plan of an image against the one that was saved and agreed to. */
#include "outcome/planned.h"
#include "wave/wave_slot.h"

bool qb_slot_is_stale(struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_planned *planned = w->batch->jobs[s->job].planned;
    const struct qb_result *r = qb_amend_result(s->amend);
    struct qb_planned now;

    if (!planned || !r->before || qb_code_retryable(r->err.code))
        return false;
    qb_planned_note(r, r->status == QB_STATUS_WOULD_CHANGE ? qb_amend_space(s->amend) : 0, &now);
    if (r->status == QB_STATUS_FAILED && now.before == planned->before)
        return false; /* that it is refused now is what there is to say */
    return qb_planned_check(planned, &now, qb_amend_err(s->amend)) < 0;
}
