#include "batch/wave.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "amend/tail.h"
#include "base/num.h"
#include "base/own.h"
#include "batch/backup.h"
#include "batch/lanes.h"
#include "batch/meant.h"

enum { FETCHED_AT_ONCE = 64, HEADER_PAGE = 4096 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool stopped(const struct qb_wave *w)
{
    return w->options->stopped && w->options->stopped();
}

/* The meter: an image that ends early has all its units at once, one put off gives them back. */
static void count(struct qb_wave *w, struct qb_slot *s, unsigned units)
{
    if (w->meter && units != s->units)
        atomic_fetch_add(&w->meter->units, (size_t)units - s->units);
    s->units = units;
}

static void step(struct qb_wave *w, struct qb_slot *s, enum qb_step to)
{
    static const unsigned units[] = {
        [QB_STEP_PLANNED] = 1,     [QB_STEP_APPENDED] = 2,
        [QB_STEP_FLIPPED] = 3,     [QB_STEP_SYNCED] = 3,
        [QB_STEP_OVER] = QB_UNITS, [QB_STEP_AFTER] = 0, /* the greatest: the table ends here */
    };

    s->step = to;
    count(w, s, units[to]);
}

/* Gives an image up before its flip. */
static void cancel(struct qb_wave *w, struct qb_slot *s, struct qb_io *io, enum qb_code why)
{
    struct qb_result *r = qb_amend_result(s->amend);

    qb_amend_cancel(s->amend, io, why);
    if (why == QB_E_TIMEOUT) {
        r->status = QB_STATUS_FAILED;
        qb_fail(&r->err, why, QB_NOWHERE,
                "gave up after %.1f s, nothing was changed (limits.timeout: %g s)", s->busy_seconds,
                w->batch->limits.timeout_seconds);
    }
    step(w, s, QB_STEP_OVER);
}

/* Nothing may happen to this image that the journal does not know of beforehand. */
static void cancel_unrecorded(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_result *r = qb_amend_result(s->amend);

    qb_amend_cancel(s->amend, io, QB_E_CANCELLED);
    r->status = QB_STATUS_FAILED;
    qb_fail_sys(&r->err, s->record_errno, QB_NOWHERE,
                "nothing was changed: the journal could not be written");
    step(w, s, QB_STEP_OVER);
}

static bool is_overdue(const struct qb_wave *w, double busy_seconds)
{
    double limit = w->batch->limits.timeout_seconds;

    return limit > 0 && busy_seconds > limit;
}

/* Whether this image is to be left as it is now. */
static bool leave(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    if (s->record_errno)
        cancel_unrecorded(w, s, io);
    else if (stopped(w))
        cancel(w, s, io, QB_E_CANCELLED);
    else if (is_overdue(w, s->busy_seconds))
        cancel(w, s, io, QB_E_TIMEOUT);
    return s->step == QB_STEP_OVER;
}

/* A phase of one image that may take long, and may be left in its middle. */
struct long_phase {
    const struct qb_wave *w;
    double busy_before, from;
};

static bool is_to_stop(void *arg)
{
    const struct long_phase *p = arg;

    return stopped(p->w) || (p->w->batch->limits.timeout_seconds > 0 &&
                             is_overdue(p->w, p->busy_before + now() - p->from));
}

static struct long_phase begin_long(const struct qb_wave *w, const struct qb_slot *s)
{
    return (struct long_phase){w, s->busy_seconds, now()};
}

/* Ends it: the slot is over where the phase was left. */
static void end_long(struct qb_wave *w, struct qb_slot *s, struct qb_io *io,
                     const struct long_phase *p)
{
    const struct qb_result *r = qb_amend_result(s->amend);

    qb_io_set_stop(io, NULL, NULL);
    s->busy_seconds = p->busy_before + now() - p->from;
    if (r->status == QB_STATUS_FAILED && r->err.code == QB_E_CANCELLED)
        cancel(w, s, io, stopped(w) ? QB_E_CANCELLED : QB_E_TIMEOUT);
}

/* ---- open, order, plan ----------------------------------------------------------------------- */

static void find_filesystem(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct stat st;

    (void)io;
    if (stat(w->batch->jobs[w->slots[i].job].path, &st) == 0)
        w->slots[i].dev = st.st_dev;
}

static void read_header(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    const struct qb_job *job = &w->batch->jobs[s->job];
    bool goes_on = qb_amend_read_header(s->amend, io) == 0;

    s->rq = job->request;
    if (goes_on && job->rules)
        goes_on = qb_meant_begins(job, io, s->amend, &s->rq, &s->name);
    step(w, s, goes_on ? QB_STEP_OPENED : QB_STEP_OVER);
}

static void open_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];
    double from = now();

    if (stopped(w))
        return;
    s->amend = qb_amend_new(w->batch->jobs[s->job].path);
    if (!s->amend || qb_amend_open_file(s->amend, w->options->dry_run) < 0)
        step(w, s, QB_STEP_OVER);
    else if (qb_file_is_cached(qb_amend_file(s->amend)))
        read_header(w, s, io);
    else
        step(w, s, QB_STEP_COLD);
    s->busy_seconds += now() - from;
}

/* Headers that are not in memory: a worker reads many at once, so that the disk has work in all its
 * queues.  What it reads here is only to be at hand for read_header. */
static void fetch_some(void *arg, struct qb_io *io, size_t share)
{
    struct qb_wave *w = arg;
    struct qb_req reqs[FETCHED_AT_ONCE];
    QB_AUTO(qb_buf) char *pages = malloc(sizeof(reqs) / sizeof(reqs[0]) * HEADER_PAGE);
    size_t first = share * FETCHED_AT_ONCE, end = QB_MIN(first + FETCHED_AT_ONCE, w->n), n = 0;

    for (size_t i = first; pages && i < end; i++) {
        struct qb_file *file =
            w->slots[i].step == QB_STEP_COLD ? qb_amend_file(w->slots[i].amend) : NULL;

        if (!file)
            continue;
        reqs[n] = (struct qb_req){.file = file,
                                  .op = QB_OP_READ,
                                  .len = QB_MIN(file->size, (uint64_t)HEADER_PAGE),
                                  .buf = pages + n * HEADER_PAGE};
        n++;
    }
    qb_io_run(io, reqs, n);
    for (size_t i = first; i < end; i++)
        if (w->slots[i].step == QB_STEP_COLD)
            read_header(w, &w->slots[i], io);
}

static void fetch_cold(struct qb_wave *w)
{
    size_t cold = 0;

    for (size_t i = 0; i < w->n; i++)
        cold += w->slots[i].step == QB_STEP_COLD;
    if (cold > 0)
        qb_sched_each(w->sched, qb_div_up(w->n, FETCHED_AT_ONCE), fetch_some, w);
}

static void put_off(struct qb_wave *w, struct qb_slot *s, enum qb_step why)
{
    qb_amend_close(s->amend);
    s->amend = NULL;
    free(qb_take(&s->name));
    step(w, s, why);
}

/* Only a downgrade needs the backing file without needing all that lies below it. */
static void lend(struct qb_wave *w, struct qb_slot *s, const struct qb_info *info)
{
    if (!(s->rq.set & QB_KEY_COMPAT) || s->rq.compat >= info->version)
        return;
    s->loan = qb_lend(w->lender, qb_sched_io(w->sched), w->batch->jobs[s->job].path, info);
    qb_amend_lend(s->amend, qb_loan_chain(s->loan));
}

static void order_one(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r = qb_amend_result(s->amend);
    struct qb_need *need = &s->need;

    if (qb_graph_need(w->graph, s->job, &s->rq, &r->before, need) < 0) {
        qb_fail_memory(&r->err);
    } else if (need->loop) {
        qb_fail(&r->err, QB_E_BACKING_LOOP, QB_NOWHERE,
                "the backing chain of the image comes back to itself");
    } else {
        if (need->job != QB_NO_JOB && (need->must || !qb_queue_is_alone(w->queue, s->job)))
            put_off(w, s, QB_STEP_AFTER);
        else
            lend(w, s, &r->before);
        return;
    }
    r->status = QB_STATUS_FAILED;
    step(w, s, QB_STEP_OVER);
}

static void add_line(void *arg, const char *text)
{
    fprintf(arg, "%s\n", text);
}

static char *describe(const struct qb_amend *a)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f) {
        qb_amend_describe(a, add_line, f);
        fclose(f);
    }
    return text;
}

/* An image is planned whatever it takes where no other one is, so that the run gets somewhere. */
static bool has_room(const struct qb_wave *w)
{
    uint64_t held = atomic_load(w->memory);

    return held == 0 || held < w->memory_limit;
}

/* What an interrupted run appended to this image.  An amend that appends has begun at the image's
 * end, and so given it back already. */
static void give_back_tail(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    const struct qb_job *job = &w->batch->jobs[s->job];
    struct qb_result *r = qb_amend_result(s->amend);

    if (job->abandoned_from == 0 || w->options->dry_run || qb_amend_facts(s->amend).rewrites ||
        (r->status != QB_STATUS_CHANGED && r->status != QB_STATUS_UNCHANGED))
        return;
    r->tail_given_back = qb_tail_give_back(io, qb_amend_file(s->amend), job->abandoned_from,
                                           job->request.memory_limit);
    r->file_size_after = qb_amend_file(s->amend)->size;
}

static void plan_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];
    struct long_phase phase = begin_long(w, s);

    if (s->step != QB_STEP_OPENED || leave(w, s, io))
        return;
    if (!has_room(w)) {
        put_off(w, s, QB_STEP_NO_ROOM);
        return;
    }
    qb_io_set_stop(io, is_to_stop, &phase);
    qb_amend_plan(s->amend, io, &s->rq);
    end_long(w, s, io, &phase);
    if (qb_amend_result(s->amend)->status == QB_STATUS_WOULD_CHANGE ||
        qb_amend_result(s->amend)->status == QB_STATUS_UNCHANGED)
        qb_meant_ends(&w->batch->jobs[s->job], s->amend, false);
    if (qb_amend_result(s->amend)->status != QB_STATUS_WOULD_CHANGE) {
        give_back_tail(w, s, io);
        step(w, s, QB_STEP_OVER);
        return;
    }
    s->memory = qb_amend_memory(s->amend);
    atomic_fetch_add(w->memory, s->memory);
    if (w->options->describe)
        s->steps = describe(s->amend);
    step(w, s, w->options->dry_run ? QB_STEP_OVER : QB_STEP_PLANNED);
}

/* ---- writes below; a barrier ends each phase ----------------------------------------------------
 */

static void flip_slot(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    step(w, s, qb_amend_flip(s->amend, io) < 0 ? QB_STEP_OVER : QB_STEP_FLIPPED);
}

/* Whether something of this image has to be durable before its flip: what was appended, its backup,
 * or what the journal must say of it. */
static bool waits_for_barrier(const struct qb_wave *w, const struct qb_slot *s)
{
    return qb_amend_appends(s->amend) || qb_amend_result(s->amend)->backed_up ||
           (w->options->state && qb_state_must_record(&w->batch->jobs[s->job].request));
}

static int back_up(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r = qb_amend_result(s->amend);

    if (w->batch->policy.backup == QB_BACKUP_NONE)
        return 0;
    if (qb_backup_make(w->batch, &w->batch->jobs[s->job], qb_amend_file(s->amend), &r->err) < 0) {
        r->status = QB_STATUS_FAILED;
        return -1;
    }
    r->backed_up = true;
    return 0;
}

/* Of an image that was not changed after all. */
static void drop_backup(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r = qb_amend_result(s->amend);

    if (!r->backed_up || qb_amend_has_flipped(s->amend))
        return;
    qb_backup_remove(w->batch, &w->batch->jobs[s->job]);
    r->backed_up = false;
}

static void append_slot(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    if (qb_amend_remember(s->amend, io) < 0 || back_up(w, s) < 0)
        step(w, s, QB_STEP_OVER);
    else if (waits_for_barrier(w, s))
        step(w, s, qb_amend_append(s->amend, io) < 0 ? QB_STEP_OVER : QB_STEP_APPENDED);
    else
        flip_slot(w, s, io);
}

static void append_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];
    struct long_phase phase = begin_long(w, s);

    if (s->step != QB_STEP_PLANNED || leave(w, s, io))
        return;
    qb_io_set_stop(io, is_to_stop, &phase);
    append_slot(w, s, io);
    end_long(w, s, io, &phase);
}

static void flip_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step != QB_STEP_APPENDED)
        return;
    if (s->sync_errno != 0) {
        qb_amend_append_lost(s->amend, io, s->sync_errno);
        step(w, s, QB_STEP_OVER);
    } else if (!leave(w, s, io)) {
        flip_slot(w, s, io);
    }
}

static void finish_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step == QB_STEP_SYNCED) {
        if (qb_amend_flipped(s->amend, s->sync_errno) == 0 && qb_amend_verify(s->amend, io) == 0) {
            qb_amend_settle(s->amend, io);
            give_back_tail(w, s, io);
            qb_meant_ends(&w->batch->jobs[s->job], s->amend, true);
        }
        step(w, s, QB_STEP_OVER);
    }
    if (s->step == QB_STEP_OVER && s->amend) {
        drop_backup(w, s);
        if (w->options->state)
            s->seen = qb_seen_of(qb_amend_file(s->amend)->fd);
        qb_amend_release(s->amend);
    }
}

/* ---- the phases ------------------------------------------------------------------------------ */

static void each(struct qb_wave *w, qb_sched_fn *fn)
{
    if (w->n > 0)
        qb_lanes_each(w, fn);
}

void qb_wave_prepare(struct qb_wave *w)
{
    if (w->batch->limits.jobs_per_filesystem && w->n > 0)
        qb_sched_each(w->sched, w->n, find_filesystem, w);
    each(w, open_one);
    fetch_cold(w);
    for (size_t i = 0; i < w->n; i++)
        if (w->slots[i].step == QB_STEP_OPENED)
            order_one(w, &w->slots[i]);
    each(w, plan_one);
}

void qb_wave_append(struct qb_wave *w)
{
    each(w, append_one);
}

void qb_wave_flip(struct qb_wave *w)
{
    each(w, flip_one);
}

void qb_wave_finish(struct qb_wave *w)
{
    each(w, finish_one);
}

static void synced(struct qb_slot *s, int errnum)
{
    s->sync_errno = errnum;
    if (s->step == QB_STEP_FLIPPED)
        s->step = QB_STEP_SYNCED;
}

static bool wants_barrier(const struct qb_slot *s)
{
    return s->step == QB_STEP_APPENDED || s->step == QB_STEP_FLIPPED;
}

static bool wave_is_due(const struct qb_wave *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (wants_barrier(&w->slots[i]))
            return true;
    return false;
}

bool qb_wave_barrier_is_due(const struct qb_wave_barrier *b)
{
    return wave_is_due(b->waves[0]) || wave_is_due(b->waves[1]);
}

void qb_wave_unrecorded(struct qb_wave *w, int errnum)
{
    for (size_t i = 0; i < w->n && errnum; i++)
        if (qb_state_must_record(&w->batch->jobs[w->slots[i].job].request))
            w->slots[i].record_errno = errnum;
}

/* A backup is another file: only a sync of all of them covers it and its name. */
static enum qb_sync how_to_sync(const struct qb_wave *w)
{
    return w->batch->policy.backup ? QB_SYNC_FS : w->batch->policy.sync;
}

/* Where memory is short, each file has its own barrier. */
static void barrier_each(const struct qb_wave *w, struct qb_io *io)
{
    for (size_t i = 0; i < w->n; i++) {
        struct qb_slot *s = &w->slots[i];
        struct qb_file *file = wants_barrier(s) ? qb_amend_file(s->amend) : NULL;
        int errnum = 0;

        if (!file)
            continue;
        qb_io_barrier(io, &file, 1, w->batch->policy.backup ? QB_SYNC_FS : QB_SYNC_FILE, &errnum);
        synced(s, errnum);
    }
}

static void journal_synced(struct qb_wave_barrier *b, int errnum)
{
    b->journal_errno = errnum;
    for (size_t i = 0; i < 2; i++)
        qb_wave_unrecorded(b->waves[i], errnum);
}

static void barrier_one_by_one(struct qb_wave_barrier *b, struct qb_io *io)
{
    int errnum = 0;

    if (b->journal)
        qb_io_barrier(io, &b->journal, 1, QB_SYNC_FILE, &errnum);
    for (size_t i = 0; i < 2; i++)
        barrier_each(b->waves[i], io);
    journal_synced(b, errnum);
}

void qb_wave_barrier(void *arg, struct qb_io *io)
{
    struct qb_wave_barrier *b = arg;
    size_t most = b->waves[0]->n + b->waves[1]->n, n = 0;
    QB_AUTO(qb_buf) struct qb_slot **slots = malloc((most + 1) * sizeof(struct qb_slot *));
    QB_AUTO(qb_buf) struct qb_file **files = malloc((most + 1) * sizeof(struct qb_file *));
    QB_AUTO(qb_buf) int *errors = calloc(most + 1, sizeof(int));

    if (!slots || !files || !errors) {
        barrier_one_by_one(b, io);
        return;
    }
    for (size_t i = 0; i < most; i++) {
        bool second = i >= b->waves[0]->n;
        struct qb_slot *s = &b->waves[second]->slots[second ? i - b->waves[0]->n : i];

        if (wants_barrier(s)) {
            slots[n] = s;
            files[n++] = qb_amend_file(s->amend);
        }
    }
    if (b->journal)
        files[n] = b->journal; /* a sync of their file system covers it */
    if (n > 0 || b->journal)
        qb_io_barrier(io, files, n + (b->journal != NULL), how_to_sync(b->waves[0]), errors);
    for (size_t i = 0; i < n; i++)
        synced(slots[i], errors[i]);
    if (b->journal)
        journal_synced(b, errors[n]);
}

void qb_wave_drop(struct qb_wave *w, struct qb_slot *s)
{
    atomic_fetch_sub(w->memory, s->memory);
    qb_amend_close(s->amend);
    s->amend = NULL;
    qb_loan_end(qb_take(&s->loan));
    free(qb_take(&s->steps));
    free(qb_take(&s->name));
}
