#include "look/each_fleet.h"

#include <errno.h>

#include "base/clock.h"
#include "base/num.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/budget.h"
#include "opener/named.h"
#include "util/signal.h"

#define MEMORY_DEFAULT (UINT64_C(512) << 20)

/* ---- one image, by a worker ------------------------------------------------------------------ */

bool qb_each_is_stopped(void *arg)
{
    struct qb_each_fleet *f = arg;

    return qb_signal_seen() || atomic_load(&f->stdout_errno);
}

bool qb_each_pass(const struct qb_each_turn *turn, size_t i, const struct qb_answer *part)
{
    return qb_answers_part(turn->fleet->answers, i, part, qb_each_is_stopped, turn->fleet);
}

/* An image for which a worker's share of the memory is too small is read again with all of it,
 * while no other one is. */
static enum qb_each_outcome ask(struct qb_each_fleet *f, struct qb_io *io, size_t i,
                                struct qb_file *file, struct qb_answer *out)
{
    const struct qb_each *each = f->each;
    const struct qb_each_turn share = {f->share, f->share == f->memory, file, f};
    const struct qb_each_turn all = {f->memory, true, file, f};
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
    struct qb_busy *busy = me < QB_BUSY_SHOWN ? &f->shared->meter.busy[me] : NULL;

    if (!busy)
        return NULL;
    atomic_store(&busy->doing, f->each->doing);
    atomic_store(&busy->since_ms, (uint64_t)(qb_now() * 1e3));
    atomic_store(&busy->job, i + 1);
    return busy;
}

static enum qb_each_outcome ask_within_budget(struct qb_each_fleet *f, struct qb_io *io, size_t i,
                                              struct qb_file *file, struct qb_answer *out)
{
    const struct qb_per_image *may = &f->each->batch->limits.per_image;
    struct qb_budget budget = {.cpu_seconds = may->cpu_seconds, .descriptors = may->descriptors};
    struct qb_busy *busy = show_busy(f, io, i);
    enum qb_each_outcome outcome;

    qb_io_set_stop(io, qb_each_is_stopped, f);
    qb_io_set_budget(io, &budget);
    outcome = ask(f, io, i, file, out);
    qb_io_set_budget(io, NULL);
    qb_io_set_stop(io, NULL, NULL);
    if (busy)
        atomic_store(&busy->job, 0);
    return outcome;
}

/* `file`: the image, where it is open already. */
static void answer_one(struct qb_each_fleet *f, struct qb_io *io, size_t i, struct qb_file *file)
{
    atomic_size_t *begun = qb_begun_add(&f->shared->begun, i);
    struct qb_answer answer = {0};

    if (ask_within_budget(f, io, i, file, &answer) == QB_EACH_STOPPED) {
        qb_answers_wake(f->answers);
    } else {
        qb_meter_step(&f->shared->meter, &(struct qb_metered){0}, QB_METER_STEPS);
        if (f->teller)
            qb_each_tell(f, i, &answer);
        qb_answers_put(f->answers, i, &answer);
    }
    if (begun)
        atomic_store(begun, 0);
}

static void answer_in_turn(void *arg, struct qb_io *io, size_t i)
{
    struct qb_each_fleet *f = arg;
    struct qb_file file;

    if (f->restarted && qb_answers_has(f->answers, i))
        return;
    qb_answers_wait(f->answers, i, qb_each_is_stopped, f);
    if (qb_each_is_stopped(f)) {
        qb_answers_wake(f->answers);
        return;
    }
    file = qb_each_ahead_take(f->ahead, io, i);
    answer_one(f, io, i, &file);
    qb_file_close(&file); /* where it was not taken over */
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
    atomic_fetch_add(&f->shared->meter.done, 1);
    if (a->failed)
        atomic_fetch_add(&f->shared->meter.failed, 1);
    if (f->each->take(f->each->arg, i, a) && (a->len || a->failure))
        write_text(f, a);
}

/* ---- all ------------------------------------------------------------------------------------- */

static struct qb_confine_wish wish_of(const struct qb_each_fleet *f)
{
    return (struct qb_confine_wish){.owners = f->owners, .helper = true, .local_time = true};
}

static int enter(struct qb_each_fleet *f)
{
    const struct qb_confine_wish wish = wish_of(f);

    return qb_confining_enter(f->each->confining, f->sched, &wish, f->err);
}

static void answer_all(void *arg)
{
    struct qb_each_fleet *f = arg;
    struct qb_confining *c = f->each->confining;
    const struct qb_confine_wish wish = wish_of(f);

    if (qb_confining_is_due(c))
        f->failed = qb_confining_begin(c, f->sched, &wish, f->err);
    if (f->failed)
        return;
    if (f->teller)
        qb_each_tell_sandbox(f);
    for (size_t i = 0; i < f->n_suspects && !qb_each_is_stopped(f); i++)
        answer_one(f, qb_sched_io(f->sched), f->suspects[i], NULL);
    f->ahead = f->each->batch->n_jobs > 1 ? qb_each_ahead_new(f->each->batch) : NULL;
    qb_sched_each(f->sched, f->each->batch->n_jobs, answer_in_turn, f);
    qb_each_ahead_free(f->ahead);
}

static void close_workers(struct qb_each_fleet *f)
{
    qb_sched_close(f->sched);
    qb_owners_free(f->owners);
    if (f->paced)
        qb_pace_free(&f->pace);
}

static void divide_memory(struct qb_each_fleet *f)
{
    uint64_t of_one = f->each->batch->limits.per_image.memory_bytes;

    f->share = qb_max(f->memory / qb_sched_workers(f->sched), 1);
    if (of_one) {
        f->memory = QB_MIN(f->memory, of_one);
        f->share = QB_MIN(f->share, of_one);
    }
}

static int open_workers(struct qb_each_fleet *f)
{
    const struct qb_batch *batch = f->each->batch;
    unsigned wanted = f->each->jobs ? f->each->jobs : batch->limits.jobs;

    if (qb_sched_open(qb_topo_open_waiting(wanted, batch), f->each->io, false, &f->sched, NULL,
                      f->err) < 0)
        return -1;
    divide_memory(f);
    f->owners = qb_policy_owners(&batch->policy, false, f->err);
    if (!f->owners)
        return -1;
    qb_sched_set_owners(f->sched, f->owners);
    f->paced = batch->limits.iops > 0;
    if (f->paced) {
        qb_pace_init(&f->pace, 0, (double)batch->limits.iops);
        qb_sched_set_pace(f->sched, &f->pace);
    }
    return 0;
}

int qb_each_work(struct qb_each_fleet *f)
{
    f->failed = open_workers(f) < 0 || enter(f) < 0 ? -1 : 0;
    if (f->failed == 0)
        qb_sched_run(f->sched, answer_all, f);
    close_workers(f);
    return f->failed;
}

/* ---- the fleet ------------------------------------------------------------------------------- */

static void release(struct qb_each_fleet *f)
{
    qb_answers_free(f->answers);
    qb_mortal_unshare(f->shared, sizeof(*f->shared));
    pthread_rwlock_destroy(&f->all_memory);
}

static int prepare(struct qb_each_fleet *f)
{
    const struct qb_batch *batch = f->each->batch;

    f->memory = batch->limits.memory_bytes ? batch->limits.memory_bytes : MEMORY_DEFAULT;
    f->shared = qb_mortal_share(sizeof(*f->shared));
    f->answers = qb_answers_new(batch->n_jobs, QB_EACH_HELD_MAX, on_answer, f);
    return f->shared && f->answers ? 0 : qb_fail_memory(f->err);
}

/* By a process that may die where one can be made, and is to have no rights. */
static int work(struct qb_each_fleet *f)
{
    struct qb_confining *c = f->each->confining;
    bool began = false;

    if (!qb_confining_is_due(c))
        return qb_each_work(f);
    if (qb_each_apart(f, &began) == 0)
        return 0;
    if (began || c->sandboxed.policy == QB_SANDBOX_STRICT)
        return -1;
    snprintf(c->refused, sizeof(c->refused), "%.199s", f->err->text);
    c->sandboxed.why_not = c->refused;
    c->begun = true;
    return qb_each_work(f);
}

int qb_each_image(const struct qb_each *each, struct qb_each_sum *sum, struct qb_err *err)
{
    __attribute__((cleanup(release))) struct qb_each_fleet f = {
        .each = each,
        .sum = sum,
        .err = err,
        .all_memory = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP};
    double began = qb_now();
    int r;

    *sum = (struct qb_each_sum){0};
    if (prepare(&f) < 0)
        return -1;
    f.progress = qb_progress_start(each->watching, &f.shared->meter, each->batch);
    r = work(&f);
    if (r == 0)
        qb_answers_end(f.answers);
    qb_progress_stop(f.progress);
    if (r < 0)
        return -1;
    sum->seconds = qb_now() - began;
    sum->not_reached = each->batch->n_jobs - sum->images;
    sum->stdout_errno = atomic_load(&f.stdout_errno);
    return 0;
}
