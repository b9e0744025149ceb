#include "undoing/discard.h"

#include <string.h>

#include "amend/amend.h"
#include "base/num.h"
#include "base/own.h"
#include "host/sched.h"
#include "qcow2/disk.h"
#include "undoing/left.h"
#include "wave/relay.h"

enum { WAVE = 64 }; /* images: each holds a plan */

enum step { OVER, PLANNED, APPENDED, FLIPPED, FOUND /* done, by a write that needs a barrier */ };

struct slot {
    size_t job;
    struct qb_amend *amend; /* NULL: memory was short */
    struct qb_request rq;
    uint8_t old_sector[QB_SECTOR], new_sector[QB_SECTOR], done_sector[QB_SECTOR];
    enum step step;
    int errnum;           /* of the barrier */
    struct qb_held *held; /* in a process that may die; else NULL */
};

struct giving {
    const struct qb_takeback *t;
    struct qb_sched *sched;
    struct slot *slots;
    size_t n;
    struct qb_left left;
};

static bool is_to_stop(void *arg)
{
    const struct giving *w = arg;

    return w->t->options.stopped && w->t->options.stopped();
}

static int fail(struct slot *s)
{
    qb_amend_result(s->amend)->status = QB_STATUS_FAILED;
    return -1;
}

/* ---- the phases ------------------------------------------------------------------------------ */

/* Whether the header is the one that the run wrote: 1, or 0 where nothing is kept any more. */
static int look_at_header(struct giving *w, struct slot *s, struct qb_io *io)
{
    const struct qb_trace *t = w->t->traces[s->job];
    struct qb_err *err = qb_amend_err(s->amend);
    uint8_t sector[QB_SECTOR];

    if (qb_history_sectors(w->t->dir, w->t->history, t, s->old_sector, s->new_sector, NULL, err) <
            0 ||
        qb_history_discarding(w->t->dir, w->t->history, t, s->done_sector, err) < 0)
        return -1;
    if (qb_io_read(io, qb_amend_file(s->amend), 0, sector, QB_SECTOR, "the header", err) < 0)
        return -1;
    if (memcmp(sector, s->new_sector, QB_SECTOR) == 0)
        return 1;
    if (memcmp(sector, s->old_sector, QB_SECTOR) == 0 ||
        (t->discarding_at && memcmp(sector, s->done_sector, QB_SECTOR) == 0))
        return 0;
    return qb_fail(
        err, QB_E_CHANGED, 0,
        "the image's header was changed since the run amended it, so that what only that "
        "run kept is not known");
}

static int prepare(struct giving *w, struct slot *s, struct qb_io *io)
{
    struct qb_result *r = qb_amend_result(s->amend);
    const struct qb_claim how = {
        .writable = !w->t->options.dry_run,
        .without_locks = w->t->batch->jobs[s->job].request.without_locks,
        .on_link = w->t->batch->jobs[s->job].request.on_link,
    };
    int found;

    r->status = QB_STATUS_FAILED;
    if (qb_amend_open(s->amend, io, how, NULL) < 0)
        return -1;
    found = look_at_header(w, s, io);
    if (found < 0)
        return fail(s);
    if (found == 0) {
        r->status = QB_STATUS_UNCHANGED;
        r->after = r->before;
        s->step = w->t->options.dry_run ? s->step : FOUND;
        return 0;
    }
    qb_request_init(&s->rq);
    s->rq.free_kept = s->old_sector;
    s->rq.punch_min = 0;
    if (qb_amend_plan(s->amend, io, &s->rq) < 0)
        return -1;
    if (r->status == QB_STATUS_WOULD_CHANGE && !w->t->options.dry_run)
        s->step = PLANNED;
    return 0;
}

static void prepare_one(void *arg, struct qb_io *io, size_t i)
{
    struct giving *w = arg;
    struct slot *s = &w->slots[i];

    s->amend = qb_amend_new(w->t->batch->jobs[s->job].path);
    if (!s->amend)
        return;
    qb_io_set_stop(io, is_to_stop, w);
    if (is_to_stop(w) ||
        (prepare(w, s, io) < 0 && qb_amend_result(s->amend)->err.code == QB_E_CANCELLED))
        qb_amend_cancel(s->amend, io, QB_E_CANCELLED);
    qb_io_set_stop(io, NULL, NULL);
}

static void append_one(void *arg, struct qb_io *io, size_t i)
{
    struct giving *w = arg;
    struct slot *s = &w->slots[i];

    if (s->step != PLANNED)
        return;
    s->step = OVER;
    qb_io_set_stop(io, is_to_stop, w);
    if (!is_to_stop(w) && qb_amend_append(s->amend, io) == 0)
        s->step = APPENDED;
    else if (is_to_stop(w))
        qb_amend_cancel(s->amend, io, QB_E_CANCELLED);
    qb_io_set_stop(io, NULL, NULL);
}

static void flip_one(void *arg, struct qb_io *io, size_t i)
{
    struct giving *w = arg;
    struct slot *s = &w->slots[i];

    if (s->step != APPENDED)
        return;
    s->step = OVER;
    if (s->errnum)
        qb_amend_append_lost(s->amend, io, s->errnum);
    else if (is_to_stop(w))
        qb_amend_cancel(s->amend, io, QB_E_CANCELLED);
    else {
        qb_held_flips(s->held, s->amend);
        if (qb_amend_flip(s->amend, io) == 0)
            s->step = FLIPPED;
    }
}

static void finish_one(void *arg, struct qb_io *io, size_t i)
{
    struct giving *w = arg;
    struct slot *s = &w->slots[i];

    if (s->step == FOUND)
        qb_amend_found(s->amend, s->errnum);
    else if (s->step == FLIPPED && qb_amend_flipped(s->amend, s->errnum) == 0 &&
             qb_amend_verify(s->amend, io) == 0)
        qb_amend_settle(s->amend, io);
}

static bool wants_barrier(const struct slot *s, enum step step)
{
    return s->step == step || (step == FLIPPED && s->step == FOUND);
}

/* One barrier for all of the wave that are at this step, and the journal, which comes first: see
 * qb_wave_barrier. */
static void barrier(struct giving *w, enum step step)
{
    struct qb_file *files[WAVE + 1], *journal = qb_journal_file(w->t->journal);
    int errors[WAVE + 1] = {0};
    size_t first = journal != NULL, n = first;

    files[0] = journal;
    for (size_t i = 0; i < w->n; i++)
        if (wants_barrier(&w->slots[i], step))
            files[n++] = qb_amend_file(w->slots[i].amend);
    if (n > 0)
        qb_io_barrier(qb_sched_io(w->sched), files, n, w->t->batch->policy.sync, errors);
    if (journal)
        qb_journal_synced(w->t->journal, errors[0]);
    n = first;
    for (size_t i = 0; i < w->n; i++)
        if (wants_barrier(&w->slots[i], step))
            w->slots[i].errnum = errors[n++];
    for (size_t i = 0; i < w->n && step == APPENDED; i++)
        if (w->slots[i].step == step && w->t->journal->errnum) /* it would not be known later */
            w->slots[i].errnum = w->t->journal->errnum;
}

/* ---- what became of them --------------------------------------------------------------------- */

static void note_plans(struct giving *w)
{
    struct qb_journal *j = w->t->journal;
    int errnum;

    for (size_t i = 0; i < w->n; i++) {
        struct slot *s = &w->slots[i];

        if (s->step != PLANNED)
            continue;
        qb_held_plans(s->held, s->amend, false);
        qb_journal_begin(j, "discarding");
        qb_journal_path(j, w->t->batch->jobs[s->job].path);
        qb_journal_bytes(j, "sector", qb_amend_facts(s->amend).new_sector, QB_SECTOR);
        qb_journal_end(j);
    }
    errnum = qb_journal_write(j);
    for (size_t i = 0; errnum && i < w->n; i++)
        if (w->slots[i].step == PLANNED) {
            qb_fail_sys(qb_amend_err(w->slots[i].amend), errnum, QB_NOWHERE,
                        "nothing was changed: the journal could not be written");
            fail(&w->slots[i]);
            w->slots[i].step = OVER;
        }
}

static void tell(struct giving *w, const struct qb_listener *listener)
{
    struct qb_journal *j = w->t->journal;

    for (size_t i = 0; i < w->n; i++) {
        struct slot *s = &w->slots[i];
        struct qb_outcome outcome = {.result.status = QB_STATUS_FAILED};

        if (s->amend)
            outcome.result = qb_amend_take_result(s->amend);
        else
            qb_outcome_fail(&outcome, QB_E_MEMORY, "out of memory");
        if (outcome.result.status == QB_STATUS_CHANGED ||
            outcome.result.status == QB_STATUS_UNCHANGED) {
            qb_journal_begin(j, "discarded");
            qb_journal_path(j, w->t->batch->jobs[s->job].path);
            qb_journal_end(j);
        }
        qb_amend_close(s->amend);
        qb_listener_tell(listener, s->job, &outcome);
    }
    if (!w->t->options.dry_run)
        qb_journal_write(j);
    if (listener->pause)
        listener->pause(listener->arg);
    for (size_t i = 0; i < w->n; i++)
        qb_held_end(w->slots[i].held);
}

struct body {
    struct giving *w;
    const struct qb_listener *listener;
    struct qb_err *err;
    int rc;
};

static void run_waves(void *arg)
{
    struct body *b = arg;
    struct giving *w = b->w;

    b->rc = qb_left_find(&w->left, w->t->batch, b->err);
    for (size_t first = 0; b->rc == 0 && first < w->left.n; first += w->n) {
        w->n = qb_left_wave(&w->left, first, WAVE);
        for (size_t i = 0; i < w->n; i++) {
            size_t job = w->left.order[first + i];

            w->slots[i] =
                (struct slot){.job = job, .held = qb_held_begin(w->t->options.relay, job)};
        }
        qb_sched_each_waiting(w->sched, w->n, QB_TAKEBACK_THREADS, prepare_one, w);
        note_plans(w);
        qb_sched_each(w->sched, w->n, append_one, w);
        barrier(w, APPENDED);
        qb_sched_each(w->sched, w->n, flip_one, w);
        barrier(w, FLIPPED);
        qb_sched_each(w->sched, w->n, finish_one, w);
        tell(w, b->listener);
    }
}

int qb_discard_run(const struct qb_takeback *t, const struct qb_listener *listener,
                   struct qb_err *err)
{
    QB_AUTO(qb_buf) struct slot *slots = calloc(WAVE, sizeof(*slots));
    struct giving w = {.t = t, .slots = slots};
    struct body body = {&w, listener, err, 0};
    int rc;

    if (!slots)
        return qb_fail_memory(err);
    rc = qb_takeback_on_workers(t, &w.sched, run_waves, &body, err);
    qb_left_free(&w.left);
    return rc < 0 ? rc : body.rc;
}
