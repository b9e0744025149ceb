#include <stdlib.h>

#include "base/num.h"
#include "base/own.h"
#include "host/confining.h"
#include "host/sched.h"
#include "host/topo.h"
#include "opener/named.h"
#include "wave/relay.h"
#include "undoing/left.h"
#include "undoing/undo_overlays.h"
#include "undoing/undo_wave.h"

struct taking {
    const struct qb_takeback *t;
    struct qb_undo_wave wave;
    struct qb_left left;
};

/* ---- what became of them --------------------------------------------------------------------- */

/* An image is undone from its barrier on, even where its tail could not be cut off. */
static void record(const struct qb_takeback *t, const struct qb_job *job,
                   const struct qb_undo_slot *s)
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

static void tell_one(struct taking *w, const struct qb_listener *listener, struct qb_undo_slot *s)
{
    struct qb_outcome outcome = {.result.status = QB_STATUS_FAILED};

    if (s->undo) {
        record(w->t, &w->t->batch->jobs[s->job], s);
        outcome.result = qb_undo_take_result(s->undo);
    } else {
        qb_outcome_fail(&outcome, QB_E_MEMORY, "out of memory");
    }
    qb_undo_close(qb_take(&s->undo));
    qb_listener_tell(listener, s->job, &outcome);
}

static void tell(struct taking *w, const struct qb_listener *listener)
{
    for (size_t i = 0; i < w->wave.n; i++) {
        struct qb_undo_slot *s = &w->wave.slots[i];

        qb_file_close(&s->claimed); /* where no undo took it */
        if (s->again)
            qb_left_again(&w->left, s->job);
        else
            tell_one(w, listener, s);
        qb_undo_close(s->undo);
        qb_proof_free(&s->proof);
    }
    qb_journal_write(w->t->journal);
    if (listener->pause)
        listener->pause(listener->arg);
    for (size_t i = 0; i < w->wave.n; i++)
        qb_held_end(w->wave.slots[i].held);
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
    struct qb_undo_wave *wave = &w->wave;

    b->rc = qb_undo_overlays_find(w->t, wave->sched, &wave->overlays, b->err);
    if (b->rc == 0)
        b->rc = qb_left_find(&w->left, w->t->batch, b->err);
    for (size_t first = 0; b->rc == 0 && first < w->left.n; first += wave->n) {
        wave->n = qb_left_wave(&w->left, first, QB_UNDO_WAVE);
        for (size_t i = 0; i < wave->n; i++)
            wave->slots[i] = (struct qb_undo_slot){
                .job = w->left.order[first + i],
                .claimed.fd = -1,
                .held = qb_held_begin(w->t->options.relay, w->left.order[first + i])};
        qb_undo_wave_carry_out(wave);
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

static struct qb_confine_wish wish_of(const struct working *w)
{
    return (struct qb_confine_wish){.owners = w->owners, .helper = true};
}

static void work(void *arg)
{
    struct working *w = arg;
    const struct qb_confine_wish wish = wish_of(w);

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
    struct qb_confine_wish wish;
    const char *fell_back;

    if (qb_sched_open(topo, t->options.io, false, sched, &fell_back, err) < 0)
        return -1;
    w.sched = *sched;
    w.owners = qb_policy_owners(&t->batch->policy, false, err);
    wish = wish_of(&w);
    if (w.owners) {
        qb_sched_set_owners(*sched, w.owners);
        w.rc = qb_confining_enter(t->options.confining, *sched, &wish, err);
    }
    if (w.rc == 0)
        qb_sched_run(*sched, work, &w);
    qb_sched_close(*sched);
    qb_owners_free(w.owners);
    return w.rc;
}

int qb_takeback_run(const struct qb_takeback *t, const struct qb_listener *listener,
                    struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_undo_slot *slots = calloc(QB_UNDO_WAVE, sizeof(*slots));
    struct taking w = {.t = t, .wave = {.t = t, .slots = slots}};
    struct body body = {&w, listener, err, 0};
    int rc;

    if (!slots)
        return qb_fail_memory(err);
    rc = qb_takeback_on_workers(t, &w.wave.sched, run_waves, &body, err);
    free(w.wave.overlays);
    qb_left_free(&w.left);
    return rc < 0 ? rc : body.rc;
}
