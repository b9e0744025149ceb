#include "wave/wave.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/own.h"
#include "wave/relay.h"
#include "opener/look.h"
#include "host/free_space.h"
#include "wave/wave_slot.h"

/* ---- writes below; a barrier ends each phase ----------------------------------------------------
 */

static void flip_slot(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    qb_held_flips(s->held, s->amend);
    qb_slot_step(w, s, qb_amend_flip(s->amend, io) < 0 ? QB_STEP_OVER : QB_STEP_FLIPPED);
}

/* Whether something of this image has to be durable before its flip: what was appended, its backup,
 * or what the journal must say of it. */
static bool waits_for_barrier(const struct qb_wave *w, const struct qb_slot *s)
{
    return qb_amend_appends(s->amend) || qb_amend_result(s->amend)->backed_up ||
           (w->options->state && qb_state_must_record(&w->batch->jobs[s->job].request));
}

static int make_clone(struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_job *job = &w->batch->jobs[s->job];
    struct qb_err *err = qb_amend_err(s->amend);

    if (job->clone_stays)
        return 0;
    if (job->clone_written)
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                       "nothing was changed: the clone that an earlier attempt of the run made was "
                       "written, or replaced by another file, and would be lost; move it away, or "
                       "amend the image in a new run");
    return qb_run_clone(w->errands, w->batch, s->job, qb_amend_file(s->amend), &s->clone, err);
}

static int back_up(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r = qb_amend_result(s->amend);

    if (w->batch->policy.backup == QB_BACKUP_NONE)
        return 0;
    if (make_clone(w, s) < 0) {
        r->status = QB_STATUS_FAILED;
        return -1;
    }
    r->backed_up = true;
    return 0;
}

/* Whether policy.min_free will stay free. */
static int book_space(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_err err;

    if (qb_space_begin(w->space, &w->batch->policy, qb_amend_file(s->amend),
                       qb_amend_space(s->amend), &err) == 0)
        return 0;
    if (s->again) {
        qb_amend_give_up(s->amend, io, &err);
        return -1;
    }
    *qb_amend_err(s->amend) = err;
    qb_amend_result(s->amend)->status = QB_STATUS_FAILED;
    return -1;
}

static void append_slot(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    if (qb_amend_remember(s->amend, io) < 0 || (!s->again && back_up(w, s) < 0))
        qb_slot_step(w, s, QB_STEP_OVER);
    else if (waits_for_barrier(w, s))
        qb_slot_step(w, s, qb_amend_append(s->amend, io) < 0 ? QB_STEP_OVER : QB_STEP_APPENDED);
    else
        flip_slot(w, s, io);
}

static void append_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];
    struct qb_long_phase phase;

    if (s->step != QB_STEP_PLANNED || qb_slot_leave_untouched(w, s, io))
        return;
    if (book_space(w, s, io) < 0) {
        qb_slot_step(w, s, QB_STEP_OVER);
        return;
    }
    if (!qb_slot_leave_untouched(w, s, io)) { /* the booking may have waited for others */
        qb_slot_begin_long(w, s, io, QB_SPAN_WRITE, true, &phase);
        append_slot(w, s, io);
        qb_slot_end_long(w, s, io, &phase);
    }
    qb_space_end(w->space, qb_amend_file(s->amend)); /* it is taken: the file system counts it */
}

static void flip_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step == QB_STEP_APPENDED && !qb_slot_leave_untouched(w, s, io))
        flip_slot(w, s, io);
}

/* ---- in a process that sees no path -----------------------------------------------------------
 * The paths of some images are looked at together (opener/look.h), right before they are flipped.
 */

enum { FLIPPED_TOGETHER = 16 };

struct shares {
    struct qb_wave *wave;
    enum qb_step step; /* of those that may be flipped */
    qb_sched_fn *fn;
};

/* Those flips come one after the other: no clone or append is made between them. */
static bool flips_at_once(const struct qb_wave *w, const struct qb_slot *s, enum qb_step step)
{
    return step == QB_STEP_APPENDED ||
           (w->batch->policy.backup == QB_BACKUP_NONE && !waits_for_barrier(w, s));
}

static void work_on_share(void *arg, struct qb_io *io, size_t share)
{
    const struct shares *h = arg;
    struct qb_wave *w = h->wave;
    size_t first = share * FLIPPED_TOGETHER, end = QB_MIN(first + FLIPPED_TOGETHER, w->n), n = 0;
    struct qb_file *files[FLIPPED_TOGETHER] = {NULL};
    size_t jobs[FLIPPED_TOGETHER] = {0};
    bool together = true;

    for (size_t i = first; i < end; i++) {
        struct qb_slot *s = &w->slots[i];

        if (s->step != h->step)
            continue;
        together &= flips_at_once(w, s, h->step);
        files[n] = qb_amend_file(s->amend);
        jobs[n++] = s->job;
    }
    if (together && n > 0)
        qb_look_ahead(files, jobs, n);
    for (size_t i = first; i < end; i++)
        h->fn(w, io, i);
}

static void each_flips(struct qb_wave *w, enum qb_step step, qb_sched_fn *fn)
{
    struct shares shares = {w, step, fn};

    if (qb_look_asks(qb_io_opener(qb_sched_io(w->sched))) && !w->limits->jobs_per_filesystem)
        qb_sched_each(w->sched, (w->n + FLIPPED_TOGETHER - 1) / FLIPPED_TOGETHER, work_on_share,
                      &shares);
    else
        qb_wave_each(w, fn);
}

/* What a barrier did not cover is not flipped, and counts as failed before anything is. */
static void lose_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step != QB_STEP_APPENDED || s->append_errno == 0)
        return;
    qb_amend_append_lost(s->amend, io, s->append_errno);
    qb_slot_step(w, s, QB_STEP_OVER);
}

/* ---- the phases ------------------------------------------------------------------------------ */

void qb_wave_append(struct qb_wave *w)
{
    each_flips(w, QB_STEP_PLANNED, append_one);
}

void qb_wave_flip(struct qb_wave *w)
{
    bool lost = false;

    for (size_t i = 0; i < w->n; i++)
        lost |= w->slots[i].append_errno != 0;
    if (lost)
        qb_wave_each(w, lose_one);
    each_flips(w, QB_STEP_APPENDED, flip_one);
}

void qb_wave_drop(struct qb_wave *w, struct qb_slot *s)
{
    qb_slot_hold(w, s, 0);
    qb_amend_close(s->amend);
    s->amend = NULL;
    qb_loan_end(qb_take(&s->loan));
    free(qb_take(&s->steps));
    free(qb_take(&s->name));
}
