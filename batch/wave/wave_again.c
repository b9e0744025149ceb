/* Plans the next commit of an image that has been amended and has more to do.  It joins the wave
 * that is prepared now, whose barriers it shares. */
#include "base/num.h"
#include "wave/wave_slot.h"

/* Waves that a slot goes through until it has memory; each of them may let another image plan. */
enum { PATIENCE = 4096 };

static bool grows_too_much(const struct qb_wave *w, const struct qb_slot *s)
{
    return qb_amend_growth(s->amend) > w->batch->policy.max_growth;
}

static int plan(struct qb_wave *w, struct qb_slot *s, struct qb_io *io, uint64_t memory)
{
    struct qb_long_phase phase;
    uint64_t held;
    int r;

    qb_slot_begin_long(w, s, io, QB_SPAN_PLAN, true, &phase);
    r = qb_amend_again(s->amend, io, memory);
    qb_slot_end_long(w, s, io, &phase);
    held = qb_amend_memory(s->amend);
    qb_slot_hold(w, s, s->rq.verify == QB_VERIFY_CONTENT ? 2 * held : held);
    return r;
}

/* Whether it goes into the next wave as it is.  Each try has at least twice the memory of the one
 * before, up to all that there is where no other image holds any. */
static bool waits_for_memory(struct qb_wave *w, struct qb_slot *s, uint64_t had)
{
    s->tried = QB_MAX(s->tried, had);
    s->crowded =
        had < w->memory_limit - QB_MIN(w->memory_limit, s->memory) && s->waits++ < PATIENCE;
    return s->crowded;
}

void qb_slot_plan_again(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    uint64_t memory = qb_slot_grant(w, s);
    int r = memory ? plan(w, s, io, memory) : -1;

    if (r < 0 && waits_for_memory(w, s, memory))
        return;
    s->crowded = false;
    s->tried = s->waits = 0;
    if (r > 0 && grows_too_much(w, s)) {
        qb_amend_give_up(s->amend, io, &(struct qb_err){.code = QB_E_NO_SPACE});
        r = 0;
    }
    qb_slot_step(w, s, r > 0 ? QB_STEP_PLANNED : QB_STEP_OVER);
}
