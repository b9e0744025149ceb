#include "batch/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "batch/neighbour.h"
#include "batch/topo.h"
#include "batch/wave.h"
#include "io/pace.h"

enum {
    WAVES = 4,         /* under way at once; see advance */
    WAVE_MAX = 512,    /* images; more gains nothing per barrier */
    FDS_RESERVED = 64, /* files open besides a wave's images */
    FDS_A_WORKER = 16, /* its ring, and a backing chain while it plans */
};

/* How long a lock may be held that everybody would rather wait for than hear of: the kernel keeps a
 * killed program's files, and their locks, until what it had in a ring is done. */
#define LOCK_PATIENCE_SECONDS 0.1

#define MEMORY_DEFAULT        (UINT64_C(512) << 20)

struct run {
    const struct qb_batch *batch;
    const struct qb_run_options *options;
    const struct qb_listener *listener;
    struct qb_sched *sched;
    struct qb_queue *queue;
    struct qb_graph *graph;
    struct qb_lender *lender;
    struct qb_hold *hold;
    struct qb_overlays *overlays; /* see overlays.h */
    struct qb_err *err;           /* why nothing could be started */
    bool broken;                  /* that is so */
    size_t *taken;                /* jobs of the next wave */
    double *locked_since;         /* of each job; NULL until one waits for a lock */
    struct qb_wave waves[WAVES];
    struct qb_wave *fresh, *appended, *flipped, *ending; /* each of them */
    atomic_uint_fast64_t memory; /* bytes that the plans of all of them hold */
    atomic_uint_fast64_t booked; /* bytes of disk that appends under way may take */
    size_t wave_max, wave_size;  /* the most there can be, and what fits the memory */
    size_t done, n_failed;
    double begun;
    unsigned n_waves; /* so far */
    bool failed;      /* some image did */
    bool paced;       /* by limits.rate or limits.iops */
    bool waits;       /* for the host to be less busy; that was said */
    struct qb_pace pace;
    bool forgetful; /* it was said that the journal cannot be written */
};

static void close_run(struct run *r)
{
    qb_hold_free(r->hold);
    qb_graph_free(r->graph);
    qb_overlays_free(r->overlays);
    qb_lender_free(r->lender);
    qb_queue_free(r->queue);
    qb_sched_close(r->sched);
    if (r->paced)
        qb_pace_free(&r->pace);
    for (size_t i = 0; i < WAVES; i++)
        free(r->waves[i].slots);
    free(r->taken);
    free(r->locked_since);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool stopped(const struct run *r)
{
    return r->options->stopped && r->options->stopped();
}

/* How many images a wave can have open, after asking the kernel for all it allows. */
static size_t room_for_files(unsigned workers)
{
    size_t reserved = FDS_RESERVED + (size_t)FDS_A_WORKER * workers;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1;
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t soft = limit.rlim_cur;

        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            limit.rlim_cur = soft;
    }
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= reserved + WAVES * WAVE_MAX)
        return WAVE_MAX;
    return limit.rlim_cur >= reserved + WAVES ? ((size_t)limit.rlim_cur - reserved) / WAVES : 1;
}

/* Has the kernel make its table of open files as large as it will have to be.  Later, with threads
 * that share it, each doubling would stop all of them for milliseconds. */
static void make_room_for_files(size_t files)
{
    int fd = open("/", O_PATH | O_CLOEXEC);
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, (int)files);

    if (high >= 0)
        close(high);
    if (fd >= 0)
        close(fd);
}

static int open_workers(struct run *r, struct qb_err *err)
{
    unsigned wanted = r->options->jobs ? r->options->jobs : r->batch->limits.jobs;
    struct qb_topo *topo = qb_topo_open(wanted, r->batch);
    const char *fell_back = NULL;
    char text[200];

    r->wave_max = QB_MIN(room_for_files(qb_topo_workers(topo)), QB_MAX(r->batch->n_jobs, 1));
    r->wave_size = r->wave_max;
    make_room_for_files(QB_MIN(r->batch->n_jobs, WAVES * r->wave_max) + FDS_RESERVED);
    if (qb_sched_open(topo, r->options->io, r->batch->n_jobs > r->wave_max, &r->sched, &fell_back,
                      err) < 0)
        return -1;
    if (fell_back && r->listener->notice) {
        snprintf(text, sizeof(text), "%s; going on with ordinary system calls", fell_back);
        r->listener->notice(r->listener->arg, text);
    }
    r->paced = r->batch->limits.rate || r->batch->limits.iops;
    if (r->paced) {
        qb_pace_init(&r->pace, (double)r->batch->limits.rate, (double)r->batch->limits.iops);
        qb_sched_set_pace(r->sched, &r->pace);
    }
    return 0;
}

static int make_wave(struct run *r, struct qb_wave *wave, struct qb_err *err)
{
    uint64_t memory = r->batch->limits.memory_bytes;

    *wave = (struct qb_wave){.batch = r->batch,
                             .options = r->options,
                             .meter = r->listener->meter,
                             .sched = r->sched,
                             .graph = r->graph,
                             .lender = r->lender,
                             .queue = r->queue,
                             .memory_limit = memory ? memory : MEMORY_DEFAULT,
                             .memory = &r->memory,
                             .booked = &r->booked,
                             .slots = calloc(r->wave_max, sizeof(struct qb_slot))};
    return wave->slots ? 0 : qb_fail_memory(err);
}

static int open_run(struct run *r, struct qb_err *err)
{
    size_t n = r->batch->n_jobs;

    if (open_workers(r, err) < 0)
        return -1;
    r->queue = qb_queue_new(n);
    r->hold = qb_hold_new(n);
    r->graph = qb_graph_new(r->batch, r->queue, r->sched);
    r->lender = qb_lender_new();
    r->taken = malloc(r->wave_max * sizeof(r->taken[0]));
    if (!r->queue || !r->hold || !r->graph || !r->lender || !r->taken)
        return qb_fail_memory(err);
    for (size_t i = 0; i < WAVES; i++)
        if (make_wave(r, &r->waves[i], err) < 0)
            return -1;
    r->fresh = &r->waves[0];
    r->appended = &r->waves[1];
    r->flipped = &r->waves[2];
    r->ending = &r->waves[3];
    return 0;
}

/* ---- what became of an image ----------------------------------------------------------------- */

static void remember(struct run *r, size_t job, const struct qb_outcome *outcome,
                     const struct qb_seen *seen)
{
    if (r->options->state)
        qb_state_over(r->options->state, r->batch, &r->batch->jobs[job], &outcome->result, seen);
}

static void finish(struct run *r, size_t job, struct qb_outcome *outcome)
{
    struct qb_meter *meter = r->listener->meter;
    bool failed = outcome->result.status == QB_STATUS_FAILED;

    qb_queue_done(r->queue, job);
    r->done++;
    r->failed |= failed;
    r->n_failed += failed;
    if (meter) {
        const struct qb_result *result = &outcome->result;

        atomic_fetch_add(&meter->done, 1);
        atomic_fetch_add(&meter->failed, failed);
        if (result->clusters.valid && result->status == QB_STATUS_CHANGED)
            atomic_fetch_add(&meter->clusters,
                             result->clusters.expanded + result->clusters.deallocated);
        atomic_fetch_add(&meter->written, result->io.write_bytes + result->io.zeroed_bytes);
    }
    qb_hold_put(r->hold, job, outcome);
}

/* An image that no wave took. */
static void finish_untouched(struct run *r, size_t job, enum qb_status status, enum qb_code code,
                             const char *text)
{
    struct qb_outcome outcome = {.result.status = status};

    qb_fail(&outcome.result.err, code, QB_NOWHERE, "%s", text);
    if (code != QB_E_CANCELLED)
        remember(r, job, &outcome, &(struct qb_seen){0});
    if (r->listener->meter)
        atomic_fetch_add(&r->listener->meter->units, QB_UNITS);
    finish(r, job, &outcome);
}

/* Whether a locked image is to be tried again later; otherwise its result is made what the policy
 * says. */
static bool wait_for_lock(struct run *r, size_t job, struct qb_result *result, double *not_before)
{
    const struct qb_policy *policy = &r->batch->policy;
    bool waits = policy->on_locked == QB_ON_LOCKED_WAIT;
    double timeout = waits ? policy->lock_timeout_seconds : LOCK_PATIENCE_SECONDS;
    double at = now(), waited, delay;
    size_t used;

    if (result->status != QB_STATUS_FAILED || result->err.code != QB_E_LOCKED)
        return false;
    if (policy->on_locked != QB_ON_LOCKED_FAIL)
        result->status = QB_STATUS_SKIPPED;
    if (stopped(r))
        return false;
    if (!r->locked_since && !(r->locked_since = calloc(r->batch->n_jobs, sizeof(double))))
        return false;
    if (r->locked_since[job] == 0)
        r->locked_since[job] = at;
    waited = at - r->locked_since[job];
    delay = QB_MIN(QB_MAX(waited / 4, 0.1), 2.0);
    *not_before = at + QB_MIN(delay, QB_MAX(timeout - waited, 0.01));
    if (waited < timeout)
        return true;
    if (!waits)
        return false;
    used = strlen(result->err.text);
    snprintf(result->err.text + used, sizeof(result->err.text) - used, " (waited %.0f s)", waited);
    return false;
}

static struct qb_timing timing_of(const struct run *r, const struct qb_wave *w,
                                  const struct qb_slot *s, double ended)
{
    return (struct qb_timing){.started_seconds = s->started - r->begun,
                              .seconds = ended - s->started,
                              .wave = w->number,
                              .worker = s->worker};
}

static void finish_slot(struct run *r, struct qb_slot *s, struct qb_timing timing)
{
    struct qb_outcome outcome = {
        .result.status = QB_STATUS_FAILED, .timing = timing, .steps = qb_take(&s->steps)};
    double not_before;

    if (s->amend)
        outcome.result = *qb_amend_result(s->amend);
    else
        qb_fail_memory(&outcome.result.err);
    if (!wait_for_lock(r, s->job, &outcome.result, &not_before)) {
        remember(r, s->job, &outcome, &s->seen);
        finish(r, s->job, &outcome);
        return;
    }
    free(outcome.steps);
    if (r->listener->meter)
        atomic_fetch_sub(&r->listener->meter->units, s->units);
    qb_queue_again(r->queue, s->job, not_before);
}

static void tell(struct run *r)
{
    struct qb_outcome outcome;
    size_t job, n = 0;

    for (; qb_hold_next(r->hold, &job, &outcome); n++) {
        r->listener->image(r->listener->arg, job, &outcome);
        free(outcome.steps);
    }
    if (n > 0 && r->listener->pause)
        r->listener->pause(r->listener->arg);
}

/* ---- waves ----------------------------------------------------------------------------------- */

/* The next wave is as large as the memory had room for, and grows again when all fitted. */
static void adapt(struct run *r, size_t n, size_t no_room)
{
    if (no_room > 0)
        r->wave_size = QB_MAX(n - no_room, 1);
    else
        r->wave_size = QB_MIN(r->wave_size * 2, r->wave_max);
}

/* Hands over what became of the images of a wave, which is empty afterwards. */
static void end_wave(struct run *r, struct qb_wave *w)
{
    size_t no_room = 0;
    double ended = now();

    for (size_t i = 0; i < w->n; i++) {
        struct qb_slot *s = &w->slots[i];

        if (s->step == QB_STEP_OVER)
            finish_slot(r, s, timing_of(r, w, s, ended));
        else if (s->step == QB_STEP_AFTER)
            qb_queue_after(r->queue, s->job, s->need.job, s->need.must);
        else
            qb_queue_again(r->queue, s->job, 0);
        no_room += s->step == QB_STEP_NO_ROOM;
        qb_wave_drop(w, s);
    }
    if (w->n > 0)
        adapt(r, w->n, no_room);
    w->n = 0;
    qb_graph_forget(r->graph);
}

/* Failures that are not told of yet, in a wave under way. */
static size_t failures_in(const struct qb_wave *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++) {
        const struct qb_slot *s = &w->slots[i];
        const struct qb_result *result = s->amend ? qb_amend_result(s->amend) : NULL;

        n += s->step == QB_STEP_OVER && result && result->status == QB_STATUS_FAILED &&
             result->err.code != QB_E_LOCKED;
    }
    return n;
}

static bool has_too_many_failures(const struct run *r)
{
    const struct qb_policy *p = &r->batch->policy;
    uint64_t most = p->max_failed;
    size_t n = r->n_failed;

    if (!p->has_max_failed)
        return false;
    if (p->max_failed_percent)
        most = r->batch->n_jobs * p->max_failed / 100;
    for (size_t i = 0; i < WAVES; i++)
        n += failures_in(&r->waves[i]);
    return n > most;
}

static bool goes_on(const struct run *r)
{
    return !stopped(r) && !(r->failed && r->batch->policy.on_error == QB_ON_ERROR_STOP) &&
           !has_too_many_failures(r);
}

/* Whether the host is too busy for a new wave, as limits.load has it. */
static bool is_held_back(struct run *r)
{
    double limit = r->batch->limits.load_percent, now_percent;
    char text[160];

    if (limit <= 0)
        return false;
    now_percent = qb_pressure_now();
    if (now_percent <= limit)
        return false;
    if (!r->waits && r->listener->notice) {
        snprintf(text, sizeof(text),
                 "waiting: this host waited %.0f%% of the last ten seconds for its disks "
                 "(limits.load: %g%%)",
                 now_percent, limit);
        r->listener->notice(r->listener->arg, text);
    }
    return r->waits = true;
}

/* The jobs of the next wave; false when there are none now. */
static bool take_next(struct run *r)
{
    size_t n = 0;

    if (goes_on(r) && !is_held_back(r))
        n = qb_queue_take(r->queue, now(), r->wave_size, r->taken);
    r->fresh->n = n;
    if (n > 0)
        r->fresh->number = ++r->n_waves;
    for (size_t i = 0; i < n; i++)
        r->fresh->slots[i] = (struct qb_slot){.job = r->taken[i]};
    return n > 0;
}

/* With on_error: stop, a failure to open or plan is seen before the next wave is taken. */
static void look_for_failures(struct run *r, const struct qb_wave *w)
{
    r->failed |= failures_in(w) > 0;
}

/* Said once. */
static void tell_of_journal(struct run *r, int errnum)
{
    char text[200];

    if (!errnum || r->forgetful || !r->listener->notice)
        return;
    snprintf(text, sizeof(text), "the journal cannot be written: %s", strerror(errnum));
    r->listener->notice(r->listener->arg, text);
    r->forgetful = true;
}

/* What a wave is about to do goes into the journal first, along with what became of others. */
static void note_plans(struct run *r, struct qb_wave *w)
{
    struct qb_state *state = r->options->state;
    int errnum;

    if (!state)
        return;
    for (size_t i = 0; i < w->n; i++)
        if (w->slots[i].step == QB_STEP_PLANNED)
            qb_state_planned(state, r->batch, &r->batch->jobs[w->slots[i].job], w->slots[i].amend);
    errnum = qb_journal_write(&state->journal);
    qb_wave_unrecorded(w, errnum);
    tell_of_journal(r, errnum);
}

static bool under_way(const struct run *r)
{
    return r->appended->n + r->flipped->n + r->ending->n > 0;
}

/* One round.  Four waves are under way, each a phase behind the one before: while a barrier goes on
 * behind what `appended` wrote and the flips of `flipped`, `ending` is ended and told of, and
 * `fresh` is prepared and written, up to where it needs the next barrier itself.  So a run of many
 * waves pays one barrier for each, and hardly waits for it.  false when there was nothing to do. */
static bool advance(struct run *r)
{
    struct qb_wave_barrier barrier = {.waves = {r->flipped, r->appended}};
    struct qb_wave *ended = r->ending;
    bool busy = under_way(r);

    qb_wave_flip(r->flipped); /* what it appended is durable since the last round */
    if (r->options->state && qb_wave_barrier_is_due(&barrier))
        barrier.journal = qb_journal_file(&r->options->state->journal);
    qb_sched_aside(r->sched, qb_wave_barrier, &barrier);
    qb_wave_finish(r->ending);
    end_wave(r, r->ending);
    busy |= take_next(r);
    qb_wave_prepare(r->fresh);
    look_for_failures(r, r->fresh);
    note_plans(r, r->fresh);
    qb_wave_append(r->fresh);
    tell(r);
    qb_sched_aside_wait(r->sched);
    if (barrier.journal_errno) /* nothing that is written behind it can be relied on */
        r->options->state->journal.errnum = barrier.journal_errno;
    tell_of_journal(r, barrier.journal_errno);
    r->ending = r->flipped;
    r->flipped = r->appended;
    r->appended = r->fresh;
    r->fresh = ended;
    return busy;
}

/* Nothing may run now: some images wait for a lock, or for each other. */
static void wait_or_untangle(struct run *r)
{
    double wakes = qb_queue_wakes(r->queue), seconds = QB_MIN(wakes - now(), 0.1);
    size_t n;

    if (is_held_back(r) || !goes_on(r)) {
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
        finish_untouched(r, r->taken[i], QB_STATUS_FAILED, QB_E_BACKING_LOOP,
                         "images of this batch are each other's backing files");
}

/* Whatever has not run stays as it is. */
static void give_up(struct run *r)
{
    bool by_signal = stopped(r);
    const char *why = by_signal ? "the run was interrupted before this image"
                      : has_too_many_failures(r)
                          ? "not started: more images failed than policy.max_failed allows"
                          : "not started: another image failed and policy.on_error is stop";

    for (size_t i = 0; i < r->batch->n_jobs && r->done < r->batch->n_jobs; i++)
        if (!qb_queue_is_done(r->queue, i))
            finish_untouched(r, i, by_signal ? QB_STATUS_INTERRUPTED : QB_STATUS_SKIPPED,
                             QB_E_CANCELLED, why);
    tell(r);
}

/* Images that the run which this one goes on with has done, well or not. */
static void pass_over(struct run *r)
{
    for (size_t i = 0; i < r->batch->n_jobs; i++) {
        struct qb_outcome outcome = {.result = {.status = QB_STATUS_UNCHANGED, .resumed = true}};

        if (r->batch->jobs[i].mistrusted)
            finish_untouched(r, i, QB_STATUS_FAILED, QB_E_VERIFY,
                             "this run amended the image before, and found that it is not what it "
                             "should be; since then nobody has put it right");
        if (!r->batch->jobs[i].already)
            continue;
        if (r->listener->meter)
            atomic_fetch_add(&r->listener->meter->units, QB_UNITS);
        if (r->options->state)
            r->options->state->ended++;
        finish(r, i, &outcome);
    }
    tell(r);
}

/* Before anything is written, so that every image is seen as it is now. */
static int find_overlays(struct run *r)
{
    int rc = qb_overlays_find(r->batch, r->sched, r->options->stopped, &r->overlays, r->err);

    for (size_t i = 0; i < WAVES; i++)
        r->waves[i].overlays = r->overlays;
    return rc;
}

static void run_waves(void *arg)
{
    struct run *r = arg;

    r->broken = find_overlays(r) < 0;
    if (r->broken)
        return;
    r->begun = now();
    pass_over(r);
    while (under_way(r) || (r->done < r->batch->n_jobs && goes_on(r))) {
        if (!advance(r))
            wait_or_untangle(r);
    }
    give_up(r);
}

int qb_run(const struct qb_batch *batch, const struct qb_run_options *options,
           const struct qb_listener *listener, struct qb_err *err)
{
    __attribute__((cleanup(close_run))) struct run r = {
        .batch = batch, .options = options, .listener = listener, .err = err};

    if (open_run(&r, err) < 0)
        return -1;
    qb_sched_run(r.sched, run_waves, &r);
    return r.broken ? -1 : 0;
}
