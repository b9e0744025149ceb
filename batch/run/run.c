#include "run/run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "journal/clones.h"
#include "run/running.h"

static struct qb_timing timing_of(const struct qb_running *r, const struct qb_wave *w,
                                  const struct qb_slot *s)
{
    struct qb_timing t = {
        .started_seconds = s->started - r->begun, .wave = w->number, .worker = s->worker};

    for (enum qb_span_kind i = 0; i < QB_SPAN_COUNT; i++) {
        if (s->spans[i].seconds <= 0)
            continue;
        t.spans[i] = s->spans[i];
        t.spans[i].started_seconds -= r->begun;
        *(qb_span_is_barrier(i) ? &t.wait_seconds : &t.seconds) += t.spans[i].seconds;
    }
    return t;
}

/* The next wave is as large as the memory had room for, and grows again when all fitted. */
static void adapt(struct qb_running *r, size_t n, size_t no_room)
{
    if (no_room > 0)
        r->wave_size = QB_MAX(n - no_room, 1);
    else
        r->wave_size = QB_MIN(r->wave_size * 2, r->wave_max);
}

/* Passes on the results of a wave's images; the wave is empty afterwards. */
static void end_wave(struct qb_running *r, struct qb_wave *w)
{
    size_t no_room = 0;

    for (size_t i = 0; i < w->n; i++) {
        struct qb_slot *s = &w->slots[i];

        if (s->step == QB_STEP_OVER)
            qb_run_finish_slot(r, s, timing_of(r, w, s));
        else if (s->step == QB_STEP_AFTER)
            qb_queue_after(r->queue, s->job, s->need.job, s->need.must);
        else if (s->step == QB_STEP_CROWDED)
            qb_queue_crowded(r->queue, s->job, s->wants_all);
        else
            qb_queue_again(r->queue, s->job, 0);
        no_room += s->step == QB_STEP_NO_ROOM || s->step == QB_STEP_CROWDED;
        qb_wave_drop(w, s);
    }
    if (w->n > 0)
        adapt(r, w->n, no_room);
    w->n = 0;
    qb_graph_forget(r->graph);
}

static size_t under_way(const struct qb_running *r)
{
    return r->appended->n + r->flipped->n + r->ending->n;
}

/* How many images the next wave may have. */
static size_t room_in_wave(const struct qb_running *r)
{
    uint64_t most = r->batch->limits.wave, busy = under_way(r);

    if (!most)
        return r->wave_size;
    return busy < most ? QB_MIN(r->wave_size, most - busy) : 0;
}

/* The jobs of the next wave; false when there are none now. */
static bool take_next(struct qb_running *r)
{
    size_t n = 0, room = room_in_wave(r);

    if (room && qb_run_goes_on(r) && !qb_run_is_held_back(r))
        n = qb_queue_take(r->queue, qb_now(), room, r->taken);
    r->fresh->n = n;
    if (n > 0)
        r->fresh->number = ++r->n_waves;
    for (size_t i = 0; i < n; i++)
        r->fresh->slots[i] = (struct qb_slot){.job = r->taken[i]};
    return n > 0;
}

/* Said once. */
static void tell_of_journal(struct qb_running *r, int errnum)
{
    char text[200];

    if (!errnum || r->forgetful || !r->listener->notice)
        return;
    snprintf(text, sizeof(text), "the journal cannot be written: %s", strerror(errnum));
    r->listener->notice(r->listener->arg, text);
    r->forgetful = true;
}

/* The plans of a wave are written to the journal first, along with the results of others. */
static void note_plans(struct qb_running *r, struct qb_wave *w)
{
    struct qb_state *state = r->options->state;
    bool first = false;
    int errnum;

    if (!state)
        return;
    for (size_t i = 0; i < w->n; i++) {
        const struct qb_job *job = &r->batch->jobs[w->slots[i].job];

        if (w->slots[i].step != QB_STEP_PLANNED)
            continue;
        qb_state_planned(state, r->batch, job, w->slots[i].amend);
        first |= qb_state_must_record_first(&job->request);
    }
    errnum = first ? qb_journal_sync(&state->journal) : qb_journal_write(&state->journal);
    qb_wave_unrecorded(w, errnum);
    tell_of_journal(r, errnum);
}

static void note_append(struct qb_running *r, const struct qb_slot *s)
{
    const struct qb_job *job = &r->batch->jobs[s->job];

    if (s->step != QB_STEP_APPENDED)
        return;
    if (qb_amend_result(s->amend)->backed_up)
        qb_clones_made(r->options->state, r->batch, job, &s->clone);
    qb_state_appended(r->options->state, r->batch, job, s->amend);
}

/* Clones, and proofs for undos, of what was written just now; the barrier that is next covers them.
 */
static void note_appends(struct qb_running *r, struct qb_wave *w)
{
    struct qb_state *state = r->options->state;
    int errnum;

    if (!state || (!r->batch->undo_kept && r->batch->policy.backup == QB_BACKUP_NONE))
        return;
    for (size_t i = 0; i < w->n; i++)
        note_append(r, &w->slots[i]);
    errnum = qb_journal_write(&state->journal);
    qb_wave_unrecorded(w, errnum);
    tell_of_journal(r, errnum);
}

/* One round.  Four waves are in progress, each one phase later than the next: while a barrier runs
 * for the appends of `appended` and the flips of `flipped`, `ending` is finished and reported, and
 * `fresh` is prepared and written, up to the point where it needs a barrier itself.  So a run of
 * many waves pays one barrier for each, and hardly waits for it.  false when there was nothing to
 * do. */
static bool advance(struct qb_running *r)
{
    struct qb_wave_barrier barrier = {.waves = {r->flipped, r->appended}};
    struct qb_wave *ended = r->ending;
    bool busy = under_way(r) > 0;

    qb_wave_flip(r->flipped); /* what it appended is durable since the last round */
    if (r->options->state && qb_wave_barrier_is_due(&barrier))
        barrier.journal = qb_journal_file(&r->options->state->journal);
    qb_sched_aside(r->sched, qb_wave_barrier, &barrier);
    qb_wave_finish(r->ending);
    end_wave(r, r->ending);
    busy |= take_next(r);
    qb_wave_prepare(r->fresh);
    note_plans(r, r->fresh);
    qb_wave_append(r->fresh);
    note_appends(r, r->fresh);
    qb_run_tell(r);
    qb_sched_aside_wait(r->sched);
    if (barrier.journal) {
        qb_journal_synced(&r->options->state->journal, barrier.journal_errno);
        qb_wave_unrecorded(r->fresh, barrier.journal_errno); /* its plans follow what was lost */
        tell_of_journal(r, barrier.journal_errno);
    }
    r->ending = r->flipped;
    r->flipped = r->appended;
    r->appended = r->fresh;
    r->fresh = ended;
    return busy;
}

/* Nothing may run now: some images wait for a lock, or for each other. */
static void wait_or_untangle(struct qb_running *r)
{
    double wakes = qb_queue_wakes(r->queue), seconds = QB_MIN(wakes - qb_now(), 0.1);
    size_t n;

    if (qb_run_is_held_back(r) || !qb_run_goes_on(r)) {
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
        return;
    }
    if (wakes >= 0) {
        if (seconds > 0)
            nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
        return;
    }
    n = qb_queue_untangle(r->queue, r->wave_max, r->taken);
    for (size_t i = 0; i < n; i++)
        qb_run_finish_untouched(r, r->taken[i], QB_STATUS_FAILED, QB_E_BACKING_LOOP,
                                "images of this batch are each other's backing files");
}

/* Whatever has not run stays as it is. */
static void give_up(struct qb_running *r)
{
    bool by_signal = qb_run_stopped(r);
    const char *why =
        by_signal ? "the run was interrupted before this image" : qb_wave_why_no_more(r->batch);

    for (size_t i = 0; i < r->batch->n_jobs && r->done < r->batch->n_jobs; i++)
        if (!qb_queue_is_done(r->queue, i))
            qb_run_finish_untouched(r, i, by_signal ? QB_STATUS_INTERRUPTED : QB_STATUS_SKIPPED,
                                    QB_E_CANCELLED, why);
    qb_run_tell(r);
}

/* Images that the resumed run has done, successfully or not. */
static void pass_over(struct qb_running *r)
{
    for (size_t i = 0; i < r->batch->n_jobs; i++) {
        const struct qb_job *job = &r->batch->jobs[i];
        struct qb_outcome outcome = {.result = {.status = QB_STATUS_UNCHANGED, .resumed = true}};

        if (job->taken_back) {
            outcome.result.status = QB_STATUS_SKIPPED;
            qb_outcome_fail(&outcome, QB_E_UNDONE,
                            "this run amended the image, and qbatch undo took that back");
        }
        if (job->mistrusted)
            qb_run_finish_untouched(
                r, i, QB_STATUS_FAILED, QB_E_VERIFY,
                "this run amended the image before, and found that it is not what it "
                "should be; since then nobody has put it right");
        if (!job->already && !job->taken_back)
            continue;
        qb_meter_pass(r->listener->meter);
        if (r->options->state)
            qb_state_passed_over(r->options->state);
        qb_run_finish(r, i, &outcome);
    }
    qb_run_tell(r);
}

/* Before anything is written, so that every image is seen as it is now. */
static int find_overlays(struct qb_running *r)
{
    int rc = qb_overlays_find(r->batch, r->sched, r->options->stopped, &r->overlays, r->err);

    for (size_t i = 0; i < QB_WAVES; i++)
        r->waves[i].overlays = r->overlays;
    return rc;
}

static void run_waves(void *arg)
{
    struct qb_running *r = arg;

    r->broken = find_overlays(r) < 0;
    if (r->broken)
        return;
    r->begun = qb_now();
    pass_over(r);
    while (under_way(r) || (r->done < r->batch->n_jobs && qb_run_goes_on(r))) {
        if (!advance(r))
            wait_or_untangle(r);
    }
    give_up(r);
}

int qb_run(const struct qb_batch *batch, const struct qb_run_options *options,
           const struct qb_listener *listener, struct qb_err *err)
{
    __attribute__((cleanup(qb_run_release))) struct qb_running r = {
        .batch = batch, .options = options, .listener = listener, .err = err};

    if (qb_run_prepare(&r, err) < 0)
        return -1;
    qb_sched_run(r.sched, run_waves, &r);
    if (!r.broken)
        qb_run_tell_places(&r);
    return r.broken ? -1 : 0;
}
