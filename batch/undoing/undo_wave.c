#include "undoing/undo_wave.h"

#include "base/num.h"
#include "host/claiming.h"
#include "host/confining.h"
#include "io/budget.h"
#include "wave/relay.h"
#include "undoing/undo_overlays.h"

static bool is_to_stop(void *arg)
{
    const struct qb_undo_wave *w = arg;

    return w->t->options.stopped && w->t->options.stopped();
}

static void interrupt(struct qb_undo_slot *s)
{
    qb_undo_result(s->undo)->status = QB_STATUS_INTERRUPTED;
    qb_fail(qb_undo_err(s->undo), QB_E_CANCELLED, QB_NOWHERE,
            "interrupted before the image was changed");
}

/* ---- what an undo requires ------------------------------------------------------------------- */

static struct qb_claim claim(const struct qb_undo_wave *w, const struct qb_undo_slot *s)
{
    return (struct qb_claim){.writable = !w->t->options.dry_run,
                             .without_locks = w->t->batch->jobs[s->job].request.without_locks,
                             .on_link = w->t->batch->jobs[s->job].request.on_link};
}

/* Reads what the journal holds of an image; the slot's parts of `facts` outlive the undo. */
static int look_up(struct qb_undo_wave *w, struct qb_undo_slot *s, struct qb_undo_facts *facts,
                   struct qb_err *err)
{
    const struct qb_trace *t = w->t->traces[s->job];

    *facts = (struct qb_undo_facts){
        .old_sector = s->old_sector,
        .new_sector = s->new_sector,
        .old_length = t->length_before,
        .appended_from = t->appended_from,
        .seen = t->done.valid,
        .length = t->done.length,
        .mtime_ns = t->done.mtime_ns,
        .ino = t->done.ino,
        .begun = t->undoing,
        .ignore_times = w->t->ignore_times,
        .longer = t->discarding_at != 0,
        .mistrusted = t->mistrusted,
        .header_wrong = t->header_wrong,
    };
    if (qb_history_sectors(w->t->dir, w->t->history, t, s->old_sector, s->new_sector,
                           &facts->as_found, err) < 0 ||
        qb_history_discarding(w->t->dir, w->t->history, t, s->given_up, err) < 0)
        return -1;
    facts->given_up = t->discarding_at ? s->given_up : NULL;
    if (t->proof_at && qb_history_proof(w->t->dir, w->t->history, t, &s->proof, err) < 0)
        return -1;
    facts->proof = t->proof_at ? &s->proof : NULL;
    return 0;
}

/* What was amended above the image relies on what it shows now. */
static int check_overlays(struct qb_undo_wave *w, struct qb_undo_slot *s)
{
    struct qb_result *result = qb_undo_result(s->undo);

    if (!w->overlays || !w->overlays[s->job] || result->status != QB_STATUS_WOULD_CHANGE ||
        !qb_undo_shows(result))
        return 0;
    result->status = QB_STATUS_FAILED;
    return qb_fail(qb_undo_err(s->undo), QB_E_REFUSED, QB_NOWHERE,
                   "the run gave the image another backing file, and amended %.200s above it "
                   "after that; undo that one first, or together with it",
                   w->overlays[s->job]);
}

/* Whether it held its lock, and could not read its backing file, which another image of the wave
 * may have: then it is another's only if it is so when the image is alone. */
static bool is_in_own_way(const struct qb_undo_wave *w, const struct qb_undo_slot *s)
{
    return w->n > 1 && qb_undo_err(s->undo)->code == QB_E_LOCKED && qb_undo_file(s->undo)->path;
}

static bool may_be_undone(const struct qb_trace *t)
{
    return t->has_undo && !t->discarded;
}

static int check(struct qb_undo_wave *w, struct qb_undo_slot *s, struct qb_io *io)
{
    const struct qb_trace *t = w->t->traces[s->job];
    struct qb_err *err = qb_undo_err(s->undo);
    struct qb_undo_facts facts;

    if (!t->has_undo)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the run kept nothing of this image; see keep_undo");
    if (t->discarded)
        return qb_undo_fail_given_up(err);
    if (look_up(w, s, &facts, err) < 0)
        return -1;
    if (qb_undo_check(s->undo, io, &facts, claim(w, s)) < 0)
        return -1;
    return check_overlays(w, s);
}

/* ---- the phases ------------------------------------------------------------------------------ */

static bool wants_claim(void *arg, size_t i, struct qb_to_claim *image)
{
    struct qb_undo_wave *w = arg;
    size_t job = w->slots[i].job;

    image->number = job;
    image->path = w->t->batch->jobs[job].path;
    return may_be_undone(w->t->traces[job]) && !is_to_stop(w);
}

static void keep_claimed(void *arg, struct qb_io *io, size_t i, struct qb_file *file)
{
    struct qb_undo_wave *w = arg;

    (void)io;
    w->slots[i].claimed = *file;
    *file = (struct qb_file){.fd = -1};
}

static void claim_all(struct qb_undo_wave *w)
{
    const struct qb_claiming claiming = {w->n, wants_claim, keep_claimed, w};

    if (w->n > 1 && qb_confining_asks(w->t->options.confining))
        qb_claim_many(w->sched, &claiming);
}

static void check_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_undo_wave *w = arg;
    struct qb_undo_slot *s = &w->slots[i];
    struct qb_budget budget = {0}; /* what the files occupy decides: a journal has no limits */

    s->undo = qb_undo_new(w->t->batch->jobs[s->job].path);
    if (!s->undo)
        return;
    if (s->claimed.fd >= 0)
        qb_undo_give_file(s->undo, &s->claimed);
    if (is_to_stop(w)) {
        interrupt(s);
        return;
    }
    qb_io_set_stop(io, is_to_stop, w);
    qb_io_set_budget(io, &budget);
    check(w, s, io);
    qb_io_set_budget(io, NULL);
    qb_io_set_stop(io, NULL, NULL);
    if (qb_undo_result(s->undo)->err.code == QB_E_CANCELLED)
        interrupt(s);
    s->again = is_in_own_way(w, s);
}

static void flip_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_undo_wave *w = arg;
    struct qb_undo_slot *s = &w->slots[i];

    if (!s->undo || w->t->options.dry_run ||
        qb_undo_result(s->undo)->status != QB_STATUS_WOULD_CHANGE)
        return;
    if (is_to_stop(w))
        interrupt(s);
    else {
        qb_held_swaps(s->held, qb_undo_file(s->undo), s->new_sector, s->old_sector);
        s->flipped = qb_undo_flip(s->undo, io) == 0;
    }
}

/* Records which images may have another modification time from now on, though nothing else of them
 * may be written when this process dies.  Without the record that reads as a guest's write. */
static void note_flips(struct qb_undo_wave *w)
{
    struct qb_journal *j = w->t->journal;

    for (size_t i = 0; i < w->n && !w->t->options.dry_run; i++) {
        const struct qb_undo_slot *s = &w->slots[i];

        if (!s->undo || qb_undo_result(s->undo)->status != QB_STATUS_WOULD_CHANGE)
            continue;
        qb_journal_begin(j, "undoing");
        qb_journal_path(j, w->t->batch->jobs[s->job].path);
        qb_journal_end(j);
    }
    qb_journal_offer(j);
}

/* One that is undone already may be so by a write that the disk does not have yet. */
static bool wants_barrier(const struct qb_undo_wave *w, const struct qb_undo_slot *s)
{
    return s->flipped || (s->undo && !w->t->options.dry_run &&
                          qb_undo_result(s->undo)->status == QB_STATUS_UNCHANGED);
}

static void finish_one(struct qb_undo_slot *s, struct qb_io *io, int errnum)
{
    if (s->flipped)
        qb_undo_flipped(s->undo, io, errnum);
    else if (errnum)
        qb_undo_not_durable(s->undo, errnum);
}

/* One barrier for all of the wave. */
static void make_durable(struct qb_undo_wave *w)
{
    struct qb_io *io = qb_sched_io(w->sched);
    struct qb_file *files[QB_UNDO_WAVE];
    int errors[QB_UNDO_WAVE] = {0};
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++)
        if (wants_barrier(w, &w->slots[i]))
            files[n++] = qb_undo_file(w->slots[i].undo);
    if (n > 0)
        qb_io_barrier(io, files, n, w->t->batch->policy.sync, errors);
    n = 0;
    for (size_t i = 0; i < w->n; i++)
        finish_one(&w->slots[i], io, wants_barrier(w, &w->slots[i]) ? errors[n++] : 0);
}

void qb_undo_wave_carry_out(struct qb_undo_wave *w)
{
    claim_all(w);
    qb_sched_each_waiting(w->sched, w->n, QB_TAKEBACK_THREADS, check_one, w);
    note_flips(w);
    qb_sched_each(w->sched, w->n, flip_one, w);
    make_durable(w);
}
