#include "run/undo_run.h"

#include <stdlib.h>
#include <string.h>

#include "undo/undo.h"
#include "base/num.h"
#include "base/own.h"
#include "host/confining.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/budget.h"
#include "io/named.h"
#include "qcow2/disk.h"
#include "run/relay.h"
#include "run/undo_overlays.h"

enum { WAVE = 256 }; /* images; within every usual limit on open files */

struct slot {
    size_t job;
    struct qb_undo *undo;
    bool flipped;
    struct qb_held *held; /* in a process that may die; else NULL */
    uint8_t old_sector[QB_SECTOR], new_sector[QB_SECTOR];
    struct qb_proof proof;
};

struct taking {
    const struct qb_takeback *t;
    struct qb_sched *sched;
    struct slot *slots;
    size_t n;
    const char **overlays;  /* by the job; NULL: none */
    size_t *order;          /* of jobs without a result, which is each of them but after a death */
    size_t n_left, n_alone; /* so many first, each alone */
};

static bool is_to_stop(void *arg)
{
    const struct taking *w = arg;

    return w->t->options.stopped && w->t->options.stopped();
}

static void interrupt(struct slot *s)
{
    qb_undo_result(s->undo)->status = QB_STATUS_INTERRUPTED;
    qb_fail(qb_undo_err(s->undo), QB_E_CANCELLED, QB_NOWHERE,
            "interrupted before the image was changed");
}

/* ---- the phases ------------------------------------------------------------------------------ */

static struct qb_claim claim(const struct taking *w, const struct slot *s)
{
    return (struct qb_claim){.writable = !w->t->options.dry_run,
                             .without_locks = w->t->batch->jobs[s->job].request.without_locks,
                             .on_link = w->t->batch->jobs[s->job].request.on_link};
}

/* Reads what the journal holds of an image; the slot's parts of `facts` outlive the undo. */
static int look_up(struct taking *w, struct slot *s, struct qb_undo_facts *facts,
                   struct qb_err *err)
{
    const struct qb_trace *t = w->t->traces[s->job];

    *facts = (struct qb_undo_facts){
        .old_sector = s->old_sector,
        .new_sector = s->new_sector,
        .old_length = t->length_before,
        .seen = t->done.valid,
        .length = t->done.length,
        .mtime_ns = t->done.mtime_ns,
        .ino = t->done.ino,
        .mistrusted = t->mistrusted,
        .header_wrong = t->header_wrong,
    };
    if (qb_history_sectors(w->t->dir, w->t->history, t, s->old_sector, s->new_sector,
                           &facts->as_found, err) < 0)
        return -1;
    if (t->proof_at && qb_history_proof(w->t->dir, w->t->history, t, &s->proof, err) < 0)
        return -1;
    facts->proof = t->proof_at ? &s->proof : NULL;
    return 0;
}

/* What was amended above the image relies on what it shows now. */
static int check_overlays(struct taking *w, struct slot *s)
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

static int check(struct taking *w, struct slot *s, struct qb_io *io)
{
    const struct qb_trace *t = w->t->traces[s->job];
    struct qb_err *err = qb_undo_err(s->undo);
    struct qb_undo_facts facts;

    if (!t->has_undo)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the run kept nothing of this image; see keep_undo");
    if (t->discarded)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "what an undo needs was freed by --discard-undo");
    if (look_up(w, s, &facts, err) < 0)
        return -1;
    if (qb_undo_check(s->undo, io, &facts, claim(w, s)) < 0)
        return -1;
    return check_overlays(w, s);
}

static void check_one(void *arg, struct qb_io *io, size_t i)
{
    struct taking *w = arg;
    struct slot *s = &w->slots[i];
    struct qb_budget budget = {0}; /* what the files occupy decides: a journal has no limits */

    s->undo = qb_undo_new(w->t->batch->jobs[s->job].path);
    if (!s->undo)
        return;
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
}

static void flip_one(void *arg, struct qb_io *io, size_t i)
{
    struct taking *w = arg;
    struct slot *s = &w->slots[i];

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

/* One that is undone already may be so by a write that the disk does not have yet. */
static bool wants_barrier(const struct taking *w, const struct slot *s)
{
    return s->flipped || (s->undo && !w->t->options.dry_run &&
                          qb_undo_result(s->undo)->status == QB_STATUS_UNCHANGED);
}

static void finish_one(struct slot *s, struct qb_io *io, int errnum)
{
    if (s->flipped)
        qb_undo_flipped(s->undo, io, errnum);
    else if (errnum)
        qb_undo_not_durable(s->undo, errnum);
}

/* One barrier for all of the wave. */
static void make_durable(struct taking *w)
{
    struct qb_io *io = qb_sched_io(w->sched);
    struct qb_file *files[WAVE];
    int errors[WAVE] = {0};
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

/* ---- what became of them --------------------------------------------------------------------- */

/* An image is undone from its barrier on, even where its tail could not be cut off. */
static void record(const struct qb_takeback *t, const struct qb_job *job, const struct slot *s)
{
    const struct qb_result *result = qb_undo_result(s->undo);
    bool over = result->status == QB_STATUS_CHANGED || result->status == QB_STATUS_UNCHANGED;

    if (t->options.dry_run || (!over && !qb_undo_is_done(s->undo)))
        return;
    qb_journal_begin(t->journal, "undone");
    qb_journal_path(t->journal, job->path);
    qb_journal_true(t->journal, "tail", !over);
    qb_state_stamp(t->journal, "at");
    qb_journal_end(t->journal);
}

static void tell(struct taking *w, const struct qb_listener *listener)
{
    for (size_t i = 0; i < w->n; i++) {
        struct slot *s = &w->slots[i];
        struct qb_outcome outcome = {.result.status = QB_STATUS_FAILED};

        if (s->undo) {
            record(w->t, &w->t->batch->jobs[s->job], s);
            outcome.result = qb_undo_take_result(s->undo);
        } else {
            qb_outcome_fail(&outcome, QB_E_MEMORY, "out of memory");
        }
        qb_undo_close(s->undo);
        qb_proof_free(&s->proof);
        qb_listener_tell(listener, s->job, &outcome);
    }
    qb_journal_write(w->t->journal);
    if (listener->pause)
        listener->pause(listener->arg);
    for (size_t i = 0; i < w->n; i++)
        qb_held_end(w->slots[i].held);
}

static void add_left(struct taking *w, enum qb_suspect which)
{
    const struct qb_batch *batch = w->t->batch;

    for (size_t i = 0; i < batch->n_jobs; i++)
        if (!batch->jobs[i].settled && batch->jobs[i].suspect == which)
            w->order[w->n_left++] = i;
}

/* Suspects of a process that died before this one come first. */
static int find_left(struct taking *w, struct qb_err *err)
{
    w->order = malloc((w->t->batch->n_jobs + 1) * sizeof(*w->order));
    if (!w->order)
        return qb_fail_memory(err);
    add_left(w, QB_SUSPECT_FIRST);
    add_left(w, QB_SUSPECT);
    w->n_alone = w->n_left;
    add_left(w, QB_SUSPECT_NOT);
    return 0;
}

struct body {
    struct taking *w;
    const struct qb_listener *listener;
    struct qb_err *err;
    int rc;
};

static void run_waves(void *arg)
{
    struct body *b = arg;
    struct taking *w = b->w;

    b->rc = qb_undo_overlays_find(w->t, w->sched, &w->overlays, b->err);
    if (b->rc == 0)
        b->rc = find_left(w, b->err);
    for (size_t first = 0; b->rc == 0 && first < w->n_left; first += w->n) {
        w->n = first < w->n_alone ? 1 : QB_MIN(w->n_left - first, (size_t)WAVE);
        for (size_t i = 0; i < w->n; i++)
            w->slots[i] =
                (struct slot){.job = w->order[first + i],
                              .held = qb_held_begin(w->t->options.relay, w->order[first + i])};
        qb_sched_each_waiting(w->sched, w->n, QB_TAKEBACK_THREADS, check_one, w);
        qb_sched_each(w->sched, w->n, flip_one, w);
        make_durable(w);
        tell(w, b->listener);
    }
}

/* What runs on the workers, once they are confined. */
struct working {
    const struct qb_takeback *t;
    struct qb_sched *sched;
    struct qb_owners *owners;
    void (*waves)(void *arg);
    void *arg;
    struct qb_err *err;
    int rc;
};

static void work(void *arg)
{
    struct working *w = arg;
    const struct qb_confine_wish wish = {.owners = w->owners, .helper = true};

    if (qb_confining_is_due(w->t->options.confining))
        w->rc = qb_confining_begin(w->t->options.confining, w->sched, &wish, w->err);
    if (w->rc == 0)
        w->waves(w->arg);
}

int qb_takeback_on_workers(const struct qb_takeback *t, struct qb_sched **sched,
                           void (*waves)(void *arg), void *arg, struct qb_err *err)
{
    struct qb_topo *topo = qb_topo_open(t->options.jobs, t->batch);
    struct working w = {.t = t, .waves = waves, .arg = arg, .err = err, .rc = -1};
    const char *fell_back;

    if (qb_sched_open(topo, t->options.io, false, sched, &fell_back, err) < 0)
        return -1;
    w.sched = *sched;
    w.owners = qb_policy_owners(&t->batch->policy, false, err);
    if (w.owners) {
        w.rc = 0;
        qb_sched_set_owners(*sched, w.owners);
        qb_sched_run(*sched, work, &w);
    }
    qb_sched_close(*sched);
    qb_owners_free(w.owners);
    return w.rc;
}

int qb_takeback_run(const struct qb_takeback *t, const struct qb_listener *listener,
                    struct qb_err *err)
{
    QB_AUTO(qb_buf) struct slot *slots = calloc(WAVE, sizeof(*slots));
    struct taking w = {.t = t, .slots = slots};
    struct body body = {&w, listener, err, 0};
    int rc;

    if (!slots)
        return qb_fail_memory(err);
    rc = qb_takeback_on_workers(t, &w.sched, run_waves, &body, err);
    free(w.overlays);
    free(w.order);
    return rc < 0 ? rc : body.rc;
}
