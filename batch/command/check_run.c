#include "command/check_run.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "command/answers.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/named.h"
#include "io/pace.h"
#include "report/check_table.h"
#include "report/progress.h"
#include "util/signal.h"

enum {
    FINDINGS_MAX = 1000, /* kept for JSON */
    SHOWN_MAX = 200,     /* of a kind, printed for people; the rest are counted */
};

#define HELD_MAX       (UINT64_C(64) << 20) /* bytes of answers that wait for others */
#define MEMORY_DEFAULT (UINT64_C(512) << 20)

struct fleet {
    const struct qb_batch *batch;
    const struct qb_check_options *options;
    struct qb_sched *sched;
    struct qb_owners *owners;
    struct qb_answers *answers;
    struct qb_check_table table;
    struct qb_check_summary *sum;
    struct qb_progress *progress;
    struct qb_meter meter;
    struct qb_pace pace;
    bool paced, by_row;
    pthread_rwlock_t all_memory; /* held for writing by an image that may use all of it */
    uint64_t share, memory;      /* bytes: of each worker, and of all */
    atomic_int stdout_errno;     /* the first failure to write there */
};

/* ---- one image, by a worker ------------------------------------------------------------------ */

/* By ^C, or because nobody reads the answers. */
static bool is_stopped(void *arg)
{
    struct fleet *f = arg;

    return qb_signal_seen() || atomic_load(&f->stdout_errno);
}

static void check_within(struct qb_io *io, uint64_t memory, struct qb_checked *k)
{
    struct qb_check_wish wish = {.level = k->level,
                                 .without_locks = k->without_locks,
                                 .found = qb_checked_note,
                                 .found_arg = k,
                                 .memory_limit = memory};

    k->counted = qb_check_run(io, k->path, &wish, &k->result) == 0;
    qb_checked_end(k);
}

static struct qb_checked nothing_yet(const struct fleet *f, size_t i)
{
    size_t most = f->options->json ? FINDINGS_MAX : f->by_row ? SHOWN_MAX : 1;

    return (struct qb_checked){.path = f->batch->jobs[i].path,
                               .level = f->options->level,
                               .without_locks = f->options->without_locks,
                               .most = {most, most},
                               .most_in_all = f->options->json ? most : 2 * most};
}

/* An image for which a worker's share of the memory is too small is checked again with all of it,
 * while no other one is. */
static void check(struct fleet *f, struct qb_io *io, size_t i, struct qb_checked *k)
{
    *k = nothing_yet(f, i);
    pthread_rwlock_rdlock(&f->all_memory);
    check_within(io, f->share, k);
    pthread_rwlock_unlock(&f->all_memory);
    if (k->counted || k->result->err.code != QB_E_MEMORY || f->share == f->memory)
        return;
    qb_checked_free(k);
    *k = nothing_yet(f, i);
    pthread_rwlock_wrlock(&f->all_memory);
    check_within(io, f->memory, k);
    pthread_rwlock_unlock(&f->all_memory);
}

static bool is_silent(const struct fleet *f, const struct qb_checked *k)
{
    bool sound = qb_checked_verdict(k) == QB_VERDICT_CLEAN;

    return sound && (f->options->quiet || f->batch->n_jobs > 1);
}

static void print_row(FILE *out, const struct fleet *f, const struct qb_checked *k)
{
    if (!k->counted || is_silent(f, k))
        return;
    if (!f->options->quiet || k->n_findings || k->result->corruptions + k->result->leaks)
        qb_checked_print(out, k, f->batch->n_jobs > 1);
    if (!f->options->quiet)
        qb_checked_print_numbers(out, k->result);
}

static char *failure_line(const struct qb_checked *k)
{
    char *line = NULL;
    size_t len;
    FILE *to = open_memstream(&line, &len);

    if (to) {
        qb_checked_print_failure(to, k);
        fclose(to);
    }
    return line;
}

/* What the order of the images makes wait is text: findings would take several times the memory. */
static struct qb_answer answer_of(const struct fleet *f, const struct qb_checked *k)
{
    const struct qb_failure *err = qb_checked_failure(k);
    struct qb_answer a = {.verdict = qb_checked_verdict(k), .code = err->code};
    FILE *out = f->options->json || f->by_row ? open_memstream(&a.text, &a.len) : NULL;

    if (out && f->options->json)
        a.lost = qb_line_checked(out, k) < 0;
    else if (out)
        print_row(out, f, k);
    else if (!f->options->json && !f->by_row && a.verdict != QB_VERDICT_CLEAN)
        a.text = qb_check_table_text(k);
    if (out)
        a.lost |= fclose(out) != 0;
    if (f->by_row && !f->options->json && err->code != QB_E_NONE)
        a.failure = failure_line(k);
    a.len = a.text && !out ? strlen(a.text) : a.len;
    a.lost |= !a.text && (f->options->json || f->by_row || a.verdict != QB_VERDICT_CLEAN);
    return a;
}

static struct qb_busy *show_busy(struct fleet *f, const struct qb_io *io, size_t i)
{
    unsigned me = qb_sched_number(f->sched, io);
    struct qb_busy *busy = me < QB_BUSY_SHOWN ? &f->meter.busy[me] : NULL;

    if (!busy)
        return NULL;
    atomic_store(&busy->doing, "checking");
    atomic_store(&busy->since_ms, (uint64_t)(qb_now() * 1e3));
    atomic_store(&busy->job, i + 1);
    return busy;
}

static void check_one(void *arg, struct qb_io *io, size_t i)
{
    struct fleet *f = arg;
    struct qb_busy *busy;
    struct qb_answer answer;
    struct qb_checked k;

    qb_answers_wait(f->answers, i, is_stopped, f);
    if (is_stopped(f)) {
        qb_answers_wake(f->answers);
        return;
    }
    busy = show_busy(f, io, i);
    qb_io_set_stop(io, is_stopped, f);
    check(f, io, i, &k);
    qb_io_set_stop(io, NULL, NULL);
    if (busy)
        atomic_store(&busy->job, 0);
    if (!k.counted && k.result->err.code == QB_E_CANCELLED) {
        qb_answers_wake(f->answers);
    } else {
        qb_meter_step(&f->meter, &(struct qb_metered){0}, QB_METER_STEPS);
        answer = answer_of(f, &k);
        qb_answers_put(f->answers, i, &answer);
    }
    qb_checked_free(&k);
}

/* ---- the answers, in order ------------------------------------------------------------------- */

static void write_text(struct fleet *f, const struct qb_answer *a)
{
    FILE *out = f->options->json || !f->options->quiet ? stdout : stderr;

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
    struct fleet *f = arg;

    f->sum->images++;
    f->sum->of[a->verdict]++;
    atomic_fetch_add(&f->meter.done, 1);
    if (a->verdict == QB_VERDICT_CORRUPT || a->verdict == QB_VERDICT_UNCHECKED)
        atomic_fetch_add(&f->meter.failed, 1);
    f->table.incomplete |= a->lost;
    if (f->options->json || f->by_row) {
        if (a->len || a->failure)
            write_text(f, a);
    } else if (a->verdict != QB_VERDICT_CLEAN) {
        qb_check_table_add(&f->table, i, a->verdict, a->code, a->text);
    }
}

/* ---- all ------------------------------------------------------------------------------------- */

static void check_all(void *arg)
{
    struct fleet *f = arg;

    qb_sched_each(f->sched, f->batch->n_jobs, check_one, f);
    qb_answers_end(f->answers);
}

static void release(struct fleet *f)
{
    qb_answers_free(f->answers);
    qb_sched_close(f->sched);
    qb_owners_free(f->owners);
    if (f->paced)
        qb_pace_free(&f->pace);
    pthread_rwlock_destroy(&f->all_memory);
}

static void divide_memory(struct fleet *f)
{
    uint64_t memory = f->batch->limits.memory_bytes;

    f->memory = memory ? memory : MEMORY_DEFAULT;
    f->share = QB_MAX(f->memory / qb_sched_workers(f->sched), 1);
}

static int prepare(struct fleet *f, struct qb_err *err)
{
    const struct qb_limits *limits = &f->batch->limits;
    unsigned wanted = f->options->jobs ? f->options->jobs : limits->jobs;

    if (qb_sched_open(qb_topo_open(wanted, f->batch), f->options->io, false, &f->sched, NULL, err) <
        0)
        return -1;
    divide_memory(f);
    f->owners = qb_owners_new(f->batch->policy.owner_need_not_read);
    f->answers = qb_answers_new(f->batch->n_jobs, HELD_MAX, on_answer, f);
    if (!f->owners || !f->answers)
        return qb_fail_memory(err);
    qb_sched_set_owners(f->sched, f->owners);
    f->paced = limits->iops > 0;
    if (f->paced) {
        qb_pace_init(&f->pace, 0, (double)limits->iops);
        qb_sched_set_pace(f->sched, &f->pace);
    }
    return 0;
}

int qb_check_all(const struct qb_batch *batch, const struct qb_check_options *options,
                 struct qb_check_summary *sum, int *stdout_errno, struct qb_err *err)
{
    __attribute__((cleanup(release))) struct fleet f = {
        .batch = batch,
        .options = options,
        .sum = sum,
        .by_row = options->all_rows || batch->n_jobs <= QB_CHECK_SHOWN_WHOLE,
        .all_memory = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP};
    bool hidden = options->quiet && options->watching == QB_WATCH_AUTO;
    double began = qb_now();

    qb_check_table_start(&f.table, batch, options->quiet);
    if (prepare(&f, err) < 0)
        return -1;
    f.progress = qb_progress_start(hidden ? QB_WATCH_NONE : options->watching, &f.meter, batch);
    qb_sched_run(f.sched, check_all, &f);
    qb_progress_stop(f.progress);
    sum->seconds = qb_now() - began;
    sum->not_reached = batch->n_jobs - sum->images;
    sum->incomplete = f.table.incomplete;
    *stdout_errno = atomic_load(&f.stdout_errno);
    if (!options->json && batch->n_jobs > 1)
        qb_check_table_end(&f.table, sum);
    if (options->without_locks && !options->json && !options->quiet)
        puts("note: no locks were taken: of an image in use the answer may be out of date");
    return 0;
}
