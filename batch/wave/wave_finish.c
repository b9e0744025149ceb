/* Finishes the images of a wave whose barrier is over: verifies them, settles, and closes them.
 *
 * Giving space back mostly waits for the file system.  Where many images do, threads of their own
 * wait (host/later.h), while the workers verify the others and prepare the next wave. */
#include "wave/rules_apply.h"
#include "wave/wave_slot.h"

/* Of an image that was not changed after all. */
static void drop_backup(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r;

    if (w->batch->policy.backup == QB_BACKUP_NONE)
        return;
    r = qb_amend_result(s->amend);
    if (!r->backed_up || qb_amend_has_flipped(s->amend) || w->batch->jobs[s->job].clone_stays)
        return;
    qb_run_unclone(w->errands, w->batch, s->job);
    r->backed_up = false;
}

/* Whether the limits let more images settle at a time than there are workers, and it is long enough
 * for that. */
static bool settles_apart(const struct qb_wave *w, struct qb_slot *s)
{
    return w->n > w->workers && w->limits->jobs_per_filesystem == 0 && qb_amend_frees(s->amend);
}

static void settle_apart(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];
    struct qb_long_phase phase;

    qb_slot_begin_long(w, s, io, QB_SPAN_VERIFY, false, &phase);
    qb_amend_settle(s->amend, io);
    qb_slot_end_long(w, s, io, &phase);
}

/* Of an image that has settled: whether more is to be done in another commit. */
static bool look_further(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    if (!s->again)
        qb_slot_give_back_tail(w, s, io);
    return qb_amend_has_more(s->amend);
}

static void end_commit(struct qb_wave *w, struct qb_slot *s, bool more)
{
    s->again |= more;
    if (more)
        qb_slot_hold(w, s, qb_amend_memory(s->amend));
    qb_slot_step(w, s, more ? QB_STEP_AGAIN : QB_STEP_OVER);
}

/* What its flip made durable is looked at, and what is not needed any more goes. */
static void finish_commit(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_long_phase phase;
    bool more = false, apart = false;

    qb_slot_begin_long(w, s, io, QB_SPAN_VERIFY, false, &phase);
    if (w->n <= QB_WAVE_VERIFIED_FROM_DISK)
        qb_amend_verify_from_disk(s->amend);
    if (qb_amend_flipped(s->amend, s->flip_errno) == 0 && qb_amend_verify(s->amend, io) == 0) {
        apart = settles_apart(w, s);
        if (!apart)
            qb_amend_settle(s->amend, io);
        more = !apart && look_further(w, s, io);
    }
    if (w->options->state)
        qb_amend_as_found(s->amend, io, &s->as_found);
    qb_slot_end_long(w, s, io, &phase);
    if (!apart) {
        end_commit(w, s, more);
        return;
    }
    qb_slot_hold(w, s, qb_amend_memory(s->amend));
    qb_slot_step(w, s, QB_STEP_SETTLES);
    qb_sched_later(w->sched, io, settle_apart, w, (size_t)(s - w->slots));
}

static void release_if_over(struct qb_wave *w, struct qb_slot *s)
{
    if (s->step != QB_STEP_OVER || !s->amend || s->released)
        return;
    if (qb_amend_status(s->amend) == QB_STATUS_CHANGED)
        qb_meant_ends(&w->batch->jobs[s->job], s->amend, true);
    drop_backup(w, s);
    qb_slot_release(w, s);
}

static void finish_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step == QB_STEP_SYNCED && qb_amend_status(s->amend) == QB_STATUS_UNCHANGED) {
        if (qb_amend_found(s->amend, s->flip_errno) == 0)
            qb_slot_give_back_tail(w, s, io);
        qb_slot_step(w, s, QB_STEP_OVER);
    } else if (s->step == QB_STEP_SYNCED) {
        finish_commit(w, s, io);
    }
    release_if_over(w, s);
}

static void finish_settled(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];
    struct qb_long_phase phase;
    bool more;

    if (s->step != QB_STEP_SETTLES)
        return;
    qb_slot_begin_long(w, s, io, QB_SPAN_VERIFY, false, &phase);
    more = look_further(w, s, io);
    qb_slot_end_long(w, s, io, &phase);
    end_commit(w, s, more);
    release_if_over(w, s);
}

void qb_wave_settled(struct qb_wave *w)
{
    qb_sched_later_wait(w->sched);
    qb_wave_each(w, finish_settled);
}

/* With a relay the images are over before others are begun, which may be its end. */
bool qb_wave_finish(struct qb_wave *w)
{
    bool settling = false;

    qb_wave_each_waiting(w, finish_one);
    for (size_t i = 0; i < w->n; i++)
        settling |= w->slots[i].step == QB_STEP_SETTLES;
    if (!settling || !w->options->relay)
        return settling;
    qb_wave_settled(w);
    return false;
}
