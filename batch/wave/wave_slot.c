#include "wave/wave_slot.h"

#include "amend/trim.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "wave/per_fs.h"

static bool is_stopped(const struct qb_wave *w)
{
    return w->options->stopped && w->options->stopped();
}

bool qb_wave_starts_no_more(const struct qb_wave *w)
{
    return is_stopped(w) || qb_failures_are_too_many(w->failures);
}

const char *qb_wave_why_no_more(const struct qb_batch *batch, const struct qb_failures *failures)
{
    if (failures->why)
        return failures->why;
    return batch->policy.on_error == QB_ON_ERROR_STOP
               ? "left as it was: another image failed and policy.on_error is stop"
               : "left as it was: more images failed than policy.max_failed allows";
}

/* What has been written and, for a comparison of content, read since the plan was made. */
static void count_bytes(const struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_io_stats *io;
    uint64_t written, compared;

    if (!w->meter || !s->amend || s->released)
        return;
    io = &qb_amend_file(s->amend)->stats;
    written = io->write_bytes + io->zeroed_bytes;
    compared = s->rq.verify == QB_VERIFY_CONTENT ? io->read_bytes - s->read_before : 0;
    qb_meter_bytes(w->meter, &s->metered, written + compared, written);
}

void qb_slot_plan_known(struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_file *file = qb_amend_file(s->amend);
    bool compares = s->rq.verify == QB_VERIFY_CONTENT;

    s->read_before = file->stats.read_bytes;
    qb_meter_plan(w->meter, &s->metered, qb_amend_space(s->amend),
                  compares ? 2 * file->allocated_at_open : 0);
}

/* A locked image may be tried again, and one that is left in its middle is looked at once more. */
static void count_failure(struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_result *r;

    if (!s->amend || s->failed || qb_amend_status(s->amend) != QB_STATUS_FAILED)
        return;
    r = qb_amend_result(s->amend);
    if (r->err.code == QB_E_LOCKED || r->err.code == QB_E_CANCELLED)
        return;
    s->failed = true;
    atomic_fetch_add(&w->failures->n, 1);
}

void qb_slot_step(struct qb_wave *w, struct qb_slot *s, enum qb_step to)
{
    static const unsigned steps[] = {
        [QB_STEP_APPENDED] = 1,
        [QB_STEP_FLIPPED] = 2,
        [QB_STEP_FOUND] = 2,
        [QB_STEP_SYNCED] = 3,
        [QB_STEP_SETTLES] = 3,
        [QB_STEP_AGAIN] = 3,
        [QB_STEP_OVER] = QB_METER_STEPS,
        [QB_STEP_AFTER] = 0, /* the greatest: the table ends here */
    };

    s->step = to;
    count_bytes(w, s);
    if (!s->again || to == QB_STEP_OVER)
        qb_meter_step(w->meter, &s->metered, steps[to]);
    if (to == QB_STEP_OVER)
        count_failure(w, s);
}

/* Gives an image up before its flip. */
static void cancel(struct qb_wave *w, struct qb_slot *s, struct qb_io *io, enum qb_code why)
{
    struct qb_result *r = qb_amend_result(s->amend);

    qb_amend_cancel(s->amend, io, why);
    if (why == QB_E_TIMEOUT) {
        r->status = QB_STATUS_FAILED;
        qb_fail(qb_amend_err(s->amend), why, QB_NOWHERE,
                "gave up after %.1f s, nothing was changed (limits.timeout: %g s)", s->busy_seconds,
                w->limits->timeout_seconds);
    }
    qb_slot_step(w, s, QB_STEP_OVER);
}

/* Every change of this image must be in the journal beforehand. */
static void cancel_unrecorded(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_result *r = qb_amend_result(s->amend);

    qb_amend_cancel(s->amend, io, QB_E_CANCELLED);
    r->status = QB_STATUS_FAILED;
    qb_fail_sys(qb_amend_err(s->amend), s->record_errno, QB_NOWHERE,
                "nothing was changed: the journal could not be written");
    qb_slot_step(w, s, QB_STEP_OVER);
}

/* Between two commits. */
static void interrupt(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    qb_amend_interrupt(s->amend, io);
    qb_slot_step(w, s, QB_STEP_OVER);
}

static bool is_overdue(const struct qb_wave *w, double busy_seconds)
{
    double limit = w->limits->timeout_seconds;

    return limit > 0 && busy_seconds > limit;
}

bool qb_slot_leave(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    if (s->again && (is_stopped(w) || is_overdue(w, s->busy_seconds)))
        interrupt(w, s, io);
    else if (s->again)
        return false;
    else if (s->record_errno)
        cancel_unrecorded(w, s, io);
    else if (is_stopped(w))
        cancel(w, s, io, QB_E_CANCELLED);
    else if (is_overdue(w, s->busy_seconds))
        cancel(w, s, io, QB_E_TIMEOUT);
    return s->step == QB_STEP_OVER;
}

bool qb_slot_leave_untouched(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    if (qb_slot_leave(w, s, io))
        return true;
    if (s->again) /* it is not untouched */
        return false;
    if (!qb_failures_are_too_many(w->failures))
        return false;
    qb_amend_cancel(s->amend, io, QB_E_CANCELLED);
    qb_amend_result(s->amend)->status = QB_STATUS_SKIPPED;
    qb_fail(qb_amend_err(s->amend), QB_E_CANCELLED, QB_NOWHERE, "%s",
            qb_wave_why_no_more(w->batch, w->failures));
    qb_slot_step(w, s, QB_STEP_OVER);
    return true;
}

/* Asked before each batch of requests, so that it is also the moment to count them. */
static bool is_to_stop(void *arg)
{
    const struct qb_long_phase *p = arg;

    count_bytes(p->wave, p->slot);
    return p->may_be_left &&
           (is_stopped(p->wave) || (p->wave->limits->timeout_seconds > 0 &&
                                    is_overdue(p->wave, p->busy_before + qb_now() - p->from)));
}

/* A place among those that are shown; NULL where all are taken. */
static struct qb_busy *show(struct qb_meter *meter, size_t job, enum qb_doing doing, double now)
{
    for (size_t i = 0; meter && i < QB_BUSY_SHOWN; i++) {
        struct qb_busy *b = &meter->busy[i];
        size_t nobody = 0;

        if (atomic_load_explicit(&b->job, memory_order_relaxed) != 0 ||
            !atomic_compare_exchange_strong(&b->job, &nobody, job + 1))
            continue;
        atomic_store(&b->since_ms, (uint64_t)(now * 1e3));
        atomic_store(&b->doing, doing);
        return b;
    }
    return NULL;
}

void qb_slot_span(struct qb_wave *w, struct qb_slot *s, const struct qb_io *io,
                  enum qb_span_kind kind, double from)
{
    struct qb_span *span = &s->spans[kind];
    double took = qb_now() - from;

    if ((s->again || s->step == QB_STEP_SETTLES) && span->seconds > 0)
        span->seconds += took;
    else
        *span = (struct qb_span){from, took, qb_sched_number(w->sched, io)};
    if (took > s->longest_seconds) {
        s->longest_seconds = took;
        s->worker = span->worker;
    }
}

void qb_slot_begin_long(struct qb_wave *w, struct qb_slot *s, struct qb_io *io,
                        enum qb_span_kind kind, bool may_be_left, struct qb_long_phase *p)
{
    static const enum qb_doing doing[QB_SPAN_COUNT] = {[QB_SPAN_PLAN] = QB_DOING_PLANNING,
                                                       [QB_SPAN_WRITE] = QB_DOING_WRITING,
                                                       [QB_SPAN_VERIFY] = QB_DOING_VERIFYING};

    *p = (struct qb_long_phase){.wave = w,
                                .slot = s,
                                .kind = kind,
                                .may_be_left = may_be_left,
                                .busy_before = s->busy_seconds,
                                .from = qb_now()};
    p->busy = show(w->meter, s->job, doing[kind], p->from);
    qb_io_set_stop(io, is_to_stop, p);
    if (may_be_left)
        qb_io_set_budget(io, &s->budget);
}

void qb_slot_end_long(struct qb_wave *w, struct qb_slot *s, struct qb_io *io,
                      const struct qb_long_phase *p)
{
    qb_io_set_stop(io, NULL, NULL);
    qb_io_set_budget(io, NULL);
    count_bytes(w, s);
    if (p->busy)
        atomic_store(&p->busy->job, 0);
    qb_slot_span(w, s, io, p->kind, p->from);
    s->busy_seconds = p->busy_before + (qb_now() - p->from);
    if (qb_amend_status(s->amend) == QB_STATUS_FAILED &&
        qb_amend_result(s->amend)->err.code == QB_E_CANCELLED)
        cancel(w, s, io, is_stopped(w) ? QB_E_CANCELLED : QB_E_TIMEOUT);
}

void qb_slot_give_back_tail(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    const struct qb_job *job = &w->batch->jobs[s->job];
    struct qb_result *r = qb_amend_result(s->amend);

    if (w->options->dry_run || (r->status != QB_STATUS_CHANGED && r->status != QB_STATUS_UNCHANGED))
        return;
    if (job->cuts_data && r->after && r->after->external_data_file)
        qb_amend_cut_data(s->amend, io);
    if (job->abandoned_from == 0 || qb_amend_facts(s->amend).rewrites)
        return;
    r->tail_given_back =
        qb_trim_tail(io, qb_amend_file(s->amend), job->abandoned_from, job->request.memory_limit);
    r->file_size_after = qb_amend_file(s->amend)->size;
}

void qb_wave_each(struct qb_wave *w, qb_sched_fn *fn)
{
    if (w->n > 0)
        qb_lanes_each(w, 0, fn);
}

void qb_wave_each_waiting(struct qb_wave *w, qb_sched_fn *fn)
{
    if (w->n > 0)
        qb_lanes_each(w, qb_wave_more_threads(w), fn);
}
