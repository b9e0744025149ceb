/* Acts on what people ask of a run in progress (outcome/hand.h), between its waves. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "job/keys.h"
#include "run/running.h"
#include "util/text.h"

bool qb_run_ends(const struct qb_running *r)
{
    return qb_run_stopped(r) || (r->options->hand && atomic_load(&r->options->hand->ends));
}

void qb_run_waits_for(const struct qb_running *r, const char *what)
{
    const struct qb_hand *hand = r->options->hand;

    if (r->options->hand)
        atomic_store(&r->options->hand->waits_for, what);
    qb_meter_waits(r->listener->meter, !what && hand && atomic_load(&hand->rests)
                                           ? QB_WAITS_PAUSED
                                           : qb_waiting_of(what));
}

void qb_run_publish_waves(const struct qb_running *r, size_t under_way)
{
    if (!r->options->hand)
        return;
    atomic_store(&r->options->hand->waves, r->n_waves);
    atomic_store(&r->options->hand->under_way, under_way);
}

/* `rests` is cleared first: who then finds it set knows that the order to pause was seen. */
bool qb_run_is_paused(const struct qb_running *r)
{
    struct qb_hand *hand = r->options->hand;

    if (!hand)
        return false;
    atomic_store(&hand->rests, false);
    if (!atomic_load(&hand->paused))
        return false;
    atomic_store(&hand->rests, r->fresh->n + r->appended->n + r->flipped->n + r->ending->n == 0);
    return true;
}

size_t qb_run_begin(struct qb_running *r, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (qb_hand_begins(r->options->hand, r->taken[i]))
            r->taken[kept++] = r->taken[i];
        else
            qb_run_skip(r, r->taken[i]);
    }
    return kept;
}

void qb_run_skip(struct qb_running *r, size_t job)
{
    qb_run_finish_untouched(r, job, QB_STATUS_SKIPPED, QB_E_BY_HAND, "skipped by qbatch ctl");
}

/* A limit that matters at once, however long a wave takes, was set by the thread that heard of it:
 * the pace, and the deadline. */
static void do_it(struct qb_running *r, const struct qb_act *act)
{
    size_t job = act->image - 1;

    if (act->key)
        qb_limit_set(act->key, strchr(act->what, '=') + 1, &r->limits);
    if (!act->image || qb_queue_is_done(r->queue, job))
        return;
    qb_queue_drop(r->queue, job);
    qb_run_skip(r, job);
}

static void record(const struct qb_running *r, struct qb_journal *j, const struct qb_act *act)
{
    char at[QB_TEXT_NUMBER], name[PATH_MAX];

    qb_journal_begin(j, "hand");
    qb_journal_text(j, "what", act->what);
    if (act->image)
        qb_journal_path(j, qb_job_name(r->batch, &r->batch->jobs[act->image - 1], name));
    if (act->print[0])
        qb_journal_text(j, "manifest_print", act->print);
    qb_journal_text(j, "who", act->who);
    qb_journal_number(j, "uid", act->uid);
    qb_journal_text(j, "at", qb_text_time(act->at, at));
    qb_journal_end(j);
}

static void tell(const struct qb_running *r, const struct qb_act *act)
{
    QB_AUTO(qb_buf) char *safe = NULL;
    size_t len = 0;
    FILE *f = r->listener->notice ? open_memstream(&safe, &len) : NULL;

    if (!f)
        return;
    fputs("qbatch ctl: ", f);
    qb_text_safe(f, act->what);
    if (act->image) {
        fputc(' ', f);
        qb_text_safe(f, r->batch->jobs[act->image - 1].path);
    }
    fputs(", by ", f);
    qb_text_safe(f, act->who);
    if (fclose(f) == 0)
        r->listener->notice(r->listener->arg, safe);
}

void qb_run_take_up(struct qb_running *r)
{
    struct qb_hand *hand = r->options->hand;
    size_t n = hand ? atomic_load(&hand->heeded) : 0;

    for (; r->heeded < n; r->heeded++) {
        const struct qb_act *act = &hand->acts[r->heeded];

        if (act->key)
            qb_limit_set(act->key, strchr(act->what, '=') + 1, &r->limits);
    }
}

/* A failure of the journal is told with the next records. */
void qb_run_heed(struct qb_running *r)
{
    struct qb_hand *hand = r->options->hand;
    struct qb_state *state = r->options->state;
    size_t first = r->heeded, n = hand ? atomic_load(&hand->n_acts) : 0;

    for (; r->heeded < n; r->heeded++) {
        tell(r, &hand->acts[r->heeded]);
        if (state)
            record(r, &state->journal, &hand->acts[r->heeded]);
        do_it(r, &hand->acts[r->heeded]);
    }
    if (state && first < n)
        qb_journal_write(&state->journal);
    if (hand)
        atomic_store(&hand->heeded, r->heeded);
    qb_run_is_paused(r);
}
