#include "look/each_image.h"

#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/num.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/budget.h"
#include "io/named.h"
#include "io/pace.h"
#include "text/progress.h"
#include "util/signal.h"

#define HELD_MAX       (UINT64_C(64) << 20) /* bytes of answers that wait for others */
#define MEMORY_DEFAULT (UINT64_C(512) << 20)

struct qb_each_fleet {
    const struct qb_each *each;
    struct qb_each_sum *sum;
    struct qb_sched *sched;
    struct qb_owners *owners;
    struct qb_answers *answers;
    struct qb_progress *progress;
    struct qb_meter meter;
    struct qb_pace pace;
    bool paced;
    pthread_rwlock_t all_memory; /* held for writing by an image that may use all of it */
    uint64_t share, memory;      /* bytes: of each worker, and of all */
    atomic_int stdout_errno;     /* the first failure to write there */
    int failed;                  /* nothing could be started, with *err */
    struct qb_err *err;
};

/* ---- one image, by a worker ------------------------------------------------------------------ */

/* By ^C, or because nobody reads the answers. */
static bool is_stopped(void *arg)
{
    struct qb_each_fleet *f = arg;

    return qb_signal_seen() || atomic_load(&f->stdout_errno);
}

bool qb_each_pass(const struct qb_each_turn *turn, size_t i, const struct qb_answer *part)
{
    return qb_answers_part(turn->fleet->answers, i, part, is_stopped, turn->fleet);
}

/* An image for which a worker's share of the memory is too small is read again with all of it,
 * while no other one is. */
static enum qb_each_outcome ask(struct qb_each_fleet *f, struct qb_io *io, size_t i,
                                struct qb_answer *out)
{
    const struct qb_each *each = f->each;
    const struct qb_each_turn share = {f->share, f->share == f->memory, f};
    const struct qb_each_turn all = {f->memory, true, f};
    enum qb_each_outcome outcome;

    pthread_rwlock_rdlock(&f->all_memory);
    outcome = each->answer(each->arg, io, i, &share, out);
    pthread_rwlock_unlock(&f->all_memory);
    if (outcome != QB_EACH_CROWDED)
        return outcome;
    pthread_rwlock_wrlock(&f->all_memory);
    outcome = each->answer(each->arg, io, i, &all, out);
    pthread_rwlock_unlock(&f->all_memory);
    return outcome;
}

static struct qb_busy *show_busy(struct qb_each_fleet *f, const struct qb_io *io, size_t i)
{
    unsigned me = qb_sched_number(f->sched, io);
    struct qb_busy *busy = me < QB_BUSY_SHOWN ? &f->meter.busy[me] : NULL;

    if (!busy)
        return NULL;
    atomic_store(&busy->doing, f->each->doing);
    atomic_store(&busy->since_ms, (uint64_t)(qb_now() * 1e3));
    atomic_store(&busy->job, i + 1);
    return busy;
}

static void answer_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_each_fleet *f = arg;
    const struct qb_per_image *may = &f->each->batch->limits.per_image;
    struct qb_budget budget = {.cpu_seconds = may->cpu_seconds, .descriptors = may->descriptors};
    struct qb_answer answer = {0};
    enum qb_each_outcome outcome;
    struct qb_busy *busy;

    qb_answers_wait(f->answers, i, is_stopped, f);
    if (is_stopped(f)) {
        qb_answers_wake(f->answers);
        return;
    }
    busy = show_busy(f, io, i);
    qb_io_set_stop(io, is_stopped, f);
    qb_io_set_budget(io, &budget);
    outcome = ask(f, io, i, &answer);
    qb_io_set_budget(io, NULL);
    qb_io_set_stop(io, NULL, NULL);
    if (busy)
        atomic_store(&busy->job, 0);
    if (outcome == QB_EACH_STOPPED) {
        qb_answers_wake(f->answers);
        return;
    }
    qb_meter_step(&f->meter, &(struct qb_metered){0}, QB_METER_STEPS);
    qb_answers_put(f->answers, i, &answer);
}

/* ---- the answers, in order ------------------------------------------------------------------- */

static void write_text(struct qb_each_fleet *f, const struct qb_answer *a)
{
    FILE *out = f->each->out;

    qb_progress_hide(f->progress);
    if (a->len && (fwrite(a->text, 1, a->len, out) != a->len || fflush(out) != 0) &&
        out == stdout && !atomic_load(&f->stdout_errno))
        atomic_store(&f->stdout_errno, errno ? errno : EIO);
    if (a->failure)
        fputs(a->failure, stderr);
    qb_progress_show(f->progress);
}

static void on_answer(void *arg, size_t i, const struct qb_answer *a)
{
    struct qb_each_fleet *f = arg;

    if (a->is_part) {
        write_text(f, a);
        return;
    }
    f->sum->images++;
    atomic_fetch_add(&f->meter.done, 1);
    if (a->failed)
        atomic_fetch_add(&f->meter.failed, 1);
    if (f->each->take(f->each->arg, i, a) && (a->len || a->failure))
        write_text(f, a);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void answer_all(void *arg)
{
    struct qb_each_fleet *f = arg;
    struct qb_confining *c = f->each->confining;
    const struct qb_confine_wish wish = {.owners = f->owners, .helper = true, .local_time = true};

    if (qb_confining_is_due(c))
        f->failed = qb_confining_begin(c, f->sched, &wish, f->err);
    if (f->failed)
        return;
    qb_sched_each(f->sched, f->each->batch->n_jobs, answer_one, f);
    qb_answers_end(f->answers);
}

static void release(struct qb_each_fleet *f)
{
    qb_answers_free(f->answers);
    qb_sched_close(f->sched);
    qb_owners_free(f->owners);
    if (f->paced)
        qb_pace_free(&f->pace);
    pthread_rwlock_destroy(&f->all_memory);
}

static void divide_memory(struct qb_each_fleet *f)
{
    const struct qb_limits *limits = &f->each->batch->limits;
    uint64_t of_one = limits->per_image.memory_bytes;

    f->memory = limits->memory_bytes ? limits->memory_bytes : MEMORY_DEFAULT;
    f->share = qb_max(f->memory / qb_sched_workers(f->sched), 1);
    if (of_one) {
        f->memory = QB_MIN(f->memory, of_one);
        f->share = QB_MIN(f->share, of_one);
    }
}

static int prepare(struct qb_each_fleet *f, struct qb_err *err)
{
    const struct qb_batch *batch = f->each->batch;
    unsigned wanted = f->each->jobs ? f->each->jobs : batch->limits.jobs;

    if (qb_sched_open(qb_topo_open_waiting(wanted, batch), f->each->io, false, &f->sched, NULL,
                      err) < 0)
        return -1;
    divide_memory(f);
    f->owners = qb_policy_owners(&batch->policy, false, err);
    if (!f->owners)
        return -1;
    f->answers = qb_answers_new(batch->n_jobs, HELD_MAX, on_answer, f);
    if (!f->answers)
        return qb_fail_memory(err);
    qb_sched_set_owners(f->sched, f->owners);
    f->paced = batch->limits.iops > 0;
    if (f->paced) {
        qb_pace_init(&f->pace, 0, (double)batch->limits.iops);
        qb_sched_set_pace(f->sched, &f->pace);
    }
    return 0;
}

int qb_each_image(const struct qb_each *each, struct qb_each_sum *sum, struct qb_err *err)
{
    __attribute__((cleanup(release))) struct qb_each_fleet f = {
        .each = each,
        .sum = sum,
        .err = err,
        .all_memory = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP};
    double began = qb_now();

    *sum = (struct qb_each_sum){0};
    if (prepare(&f, err) < 0)
        return -1;
    f.progress = qb_progress_start(each->watching, &f.meter, each->batch);
    qb_sched_run(f.sched, answer_all, &f);
    qb_progress_stop(f.progress);
    if (f.failed)
        return -1;
    sum->seconds = qb_now() - began;
    sum->not_reached = each->batch->n_jobs - sum->images;
    sum->stdout_errno = atomic_load(&f.stdout_errno);
    return 0;
}
