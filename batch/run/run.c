#include "run/run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "outcome/planned.h"
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
        r->wave_fits = QB_MAX(n - no_room, 1);
    else
        r->wave_fits = QB_MIN(r->wave_fits * 2, r->wave_max);
}

/* Small waves find what they hold in the processor's caches, and few images of a large one pay for
 * a barrier of a slow disk: waves grow where the wait for it is more than half of the work. */
static void heed_barrier(struct qb_running *r, double worked, double waited)
{
    if (waited > worked / 2)
        r->wave_pays = QB_MIN(r->wave_pays * 2, r->wave_max);
}

/* An image has its result, which is told soon, or is closed again, untouched. */
static void let_go(struct qb_running *r, struct qb_slot *s)
{
    if (s->held && (s->step != QB_STEP_OVER || !qb_vec_push(&r->ended, s->held)))
        qb_held_end(s->held);
    s->held = NULL;
}

/* Tells what has ended, and forgets that it was held. */
static void tell(struct qb_running *r)
{
    qb_run_tell(r);
    qb_vec_each (held, &r->ended)
        qb_held_end(*held);
    r->ended.n = 0;
}

/* What the backing file of an image is that is over. */
static void learn(struct qb_running *r, const struct qb_slot *s)
{
    const struct qb_result *result = s->amend ? qb_amend_result(s->amend) : NULL;

    if (result && s->step == QB_STEP_OVER && s->last.st_ino && result->after &&
        qb_graph_learns(r->graph) &&
        (result->status == QB_STATUS_CHANGED || result->status == QB_STATUS_UNCHANGED))
        qb_graph_learn(r->graph, s->job, &s->last, result->after);
}

/* Passes on the results of a wave's images, and those that are not done to the next wave, which may
 * be this one; there is nothing else in it afterwards. */
static void end_wave(struct qb_running *r, struct qb_wave *w, struct qb_wave *next)
{
    size_t no_room = 0, n = w->n;

    w->n = 0;
    for (size_t i = 0; i < n; i++) {
        struct qb_slot *s = &w->slots[i];

        if (s->step == QB_STEP_AGAIN) {
            next->slots[next->n++] = *s;
            continue;
        }
        qb_suspected_clear(&r->suspected, s->job);
        let_go(r, s);
        if (s->step != QB_STEP_OVER)
            qb_hand_puts_off(r->options->hand, s->job);
        learn(r, s);
        if (s->step == QB_STEP_OVER)
            qb_run_finish_slot(r, s, timing_of(r, w, s));
        else if (s->step == QB_STEP_AFTER)
            qb_run_after(r, s->job, s->need.job, s->need.must);
        else if (s->step == QB_STEP_CROWDED)
            qb_queue_crowded(r->queue, s->job, s->wants_all);
        else
            qb_queue_again(r->queue, s->job, 0);
        no_room += s->step == QB_STEP_NO_ROOM || s->step == QB_STEP_CROWDED;
        qb_wave_drop(w, s);
    }
    if (n > 0)
        adapt(r, n, no_room);
    qb_graph_look_again(r->graph);
}

static size_t under_way(const struct qb_running *r)
{
    return r->appended->n + r->flipped->n + r->ending->n;
}

static bool is_busy(const struct qb_running *r)
{
    return under_way(r) + r->fresh->n > 0;
}

/* How many images the next wave may have. */
static size_t room_in_wave(const struct qb_running *r)
{
    uint64_t most = r->suspected.n ? 1 : r->limits.wave, busy = under_way(r) + r->fresh->n;
    size_t size = QB_MIN(r->wave_fits, r->wave_pays);
    size_t room = size - QB_MIN(size, r->fresh->n);

    for (size_t i = 0; i < r->fresh->n; i++)
        if (r->fresh->slots[i].crowded) /* waits for memory */
            return 0;
    if (!most)
        return room;
    return busy < most ? QB_MIN(room, most - busy) : 0;
}

/* The jobs of the next wave, in addition to those that are in it; false when none was taken now. */
static bool take_next(struct qb_running *r)
{
    size_t taken = 0, n, room = room_in_wave(r), first = r->fresh->n;

    if (room && qb_run_goes_on(r) && !qb_run_is_held_back(r))
        taken = qb_run_take(r, room);
    n = qb_run_begin(r, taken);
    r->fresh->n += n;
    if (r->fresh->n > 0)
        r->fresh->number = ++r->n_waves;
    qb_run_publish_waves(r, under_way(r) + r->fresh->n);
    for (size_t i = 0; i < n; i++)
        r->fresh->slots[first + i] =
            (struct qb_slot){.job = r->taken[i],
                             .verify = qb_run_verifies(r, r->taken[i]),
                             .held = qb_held_begin(r->options->relay, r->taken[i])};
    return r->fresh->n > 0 || taken > 0;
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
    bool busy = is_busy(r), settling;
    double began = qb_now(), worked;

    qb_run_heed(r);
    qb_wave_flip(r->flipped); /* what it appended is durable since the last round */
    if (r->options->state && qb_wave_barrier_is_due(&barrier))
        barrier.journal = qb_journal_file(&r->options->state->journal);
    qb_sched_aside(r->sched, qb_wave_barrier, &barrier);
    settling = qb_wave_finish(ended);
    if (!settling)
        end_wave(r, ended, r->fresh);
    if (r->options->relay) /* the next images may be its end */
        tell(r);
    busy |= take_next(r);
    qb_wave_prepare(r->fresh);
    qb_run_note_plans(r, r->fresh);
    qb_wave_append(r->fresh);
    qb_run_note_appends(r, r->fresh);
    if (settling) {
        qb_wave_settled(ended);
        end_wave(r, ended, ended); /* the next to be prepared */
    }
    tell(r);
    worked = qb_now() - began;
    qb_sched_aside_wait(r->sched);
    heed_barrier(r, worked, qb_now() - began - worked);
    if (barrier.journal) {
        qb_journal_synced(&r->options->state->journal, barrier.journal_errno);
        qb_wave_unrecorded(r->fresh, barrier.journal_errno); /* its plans follow what was lost */
        qb_run_tell_of_journal(r, barrier.journal_errno);
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
    double wakes = qb_queue_wakes(r->queue), seconds = qb_min_double(wakes - qb_now(), 0.1);
    size_t n;

    if (qb_run_step_is_over(r)) {
        qb_run_end_step(r);
        return;
    }
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
    bool by_signal = qb_run_ends(r);
    const char *why = by_signal ? "the run was interrupted before this image"
                                : qb_wave_why_no_more(r->batch, &r->failures);

    for (size_t i = 0; i < r->batch->n_jobs && r->done < r->batch->n_jobs; i++) {
        size_t job = qb_run_job_at(r, i);

        if (qb_queue_is_done(r->queue, job))
            continue;
        if (!qb_hand_begins(r->options->hand, job))
            qb_run_skip(r, job);
        else
            qb_run_finish_untouched(r, job, by_signal ? QB_STATUS_INTERRUPTED : QB_STATUS_SKIPPED,
                                    QB_E_CANCELLED, why);
    }
    qb_run_heed(r);
    qb_run_tell(r);
}

/* An image that the plan refused.  Whoever agreed to the plan knew, so it does not count among the
 * failures after which a run ends. */
static void leave_as_planned(struct qb_running *r, size_t job, const struct qb_planned *p)
{
    qb_run_finish_untouched(r, job, p->status, p->code, p->message);
    if (p->status == QB_STATUS_FAILED && p->code != QB_E_STALE) /* which no plan says */
        atomic_fetch_sub(&r->failures.n, 1);
}

/* Images that the resumed run has done, successfully or not. */
static void pass_over(struct qb_running *r)
{
    for (size_t place = 0; place < r->batch->n_jobs; place++) {
        size_t i = qb_run_job_at(r, place);
        const struct qb_job *job = &r->batch->jobs[i];
        struct qb_outcome outcome = {.result = {.status = QB_STATUS_UNCHANGED, .resumed = true}};

        if (job->settled) {
            qb_queue_done(r->queue, i);
            r->done++;
            continue;
        }
        if (job->taken_back) {
            outcome.result.status = QB_STATUS_SKIPPED;
            qb_outcome_fail(&outcome, QB_E_UNDONE,
                            "this run amended the image, and qbatch undo took that back");
        }
        if (job->skipped) {
            outcome.result.status = QB_STATUS_SKIPPED;
            qb_outcome_fail(&outcome, QB_E_BY_HAND, "skipped by qbatch ctl, in an earlier attempt");
        }
        if (job->mistrusted)
            qb_run_finish_untouched(
                r, i, QB_STATUS_FAILED, QB_E_VERIFY,
                "this run amended the image before, and found that it is not what it "
                "should be; since then nobody has put it right");
        else if (job->planned && !qb_planned_applies(job->planned))
            leave_as_planned(r, i, job->planned);
        if (!job->already && !job->taken_back && !job->skipped)
            continue;
        qb_meter_pass(r->listener->meter);
        if (r->options->state)
            qb_state_passed_over(r->options->state);
        qb_run_finish(r, i, &outcome);
    }
    qb_run_tell(r);
}

static void begin(struct qb_running *r)
{
    const struct qb_relay *relay = r->options->relay;

    r->begun = relay ? relay->begun : qb_now();
    r->n_waves = relay ? relay->waves : 0;
    atomic_fetch_add(&r->failures.n, relay ? relay->failed : 0);
    qb_run_take_up(r);
}

static void run_waves(void *arg)
{
    struct qb_running *r = arg;

    r->broken = qb_run_confine(r) < 0 || qb_run_find_overlays(r) < 0 || qb_run_roll(r, r->err) < 0;
    if (r->broken)
        return;
    begin(r);
    pass_over(r);
    if (!qb_suspected_first(&r->suspected, r->batch, r->queue)) {
        r->broken = true;
        qb_fail_memory(r->err);
        return;
    }
    while (is_busy(r) || (r->done < r->batch->n_jobs && qb_run_goes_on(r))) {
        if (!advance(r))
            wait_or_untangle(r);
    }
    qb_run_heed(r);
    qb_run_end_roll(r);
    give_up(r);
}

int qb_run(const struct qb_batch *batch, const struct qb_run_options *options,
           const struct qb_listener *listener, struct qb_err *err)
{
    __attribute__((cleanup(qb_run_release))) struct qb_running r = {.batch = batch,
                                                                    .options = options,
                                                                    .listener = listener,
                                                                    .limits = batch->limits,
                                                                    .err = err,
                                                                    .pressure_fd = -1};

    if (qb_run_prepare(&r, err) < 0 || qb_run_enter(&r) < 0)
        return -1;
    if (options->ready)
        options->ready(options->ready_arg);
    qb_sched_run(r.sched, run_waves, &r);
    if (!r.broken)
        qb_run_tell_places(&r);
    return r.broken ? -1 : 0;
}
