#include "page/timeline.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "util/xml.h"
#include "util/text.h"

enum {
    BARRIERS_APART = 16, /* that are looked through for the one that an image shares */
    WAVES_MAX = 1 << 20, /* more are not in the picture */
};

void qb_timeline_init(struct qb_timeline *t)
{
    *t = (struct qb_timeline){.whole = true};
}

void qb_timeline_free(struct qb_timeline *t)
{
    qb_vec_free(&t->marks);
    qb_vec_free(&t->waves);
    qb_vec_free(&t->barriers);
}

static bool is_failure(enum qb_status status)
{
    return status == QB_STATUS_FAILED || status == QB_STATUS_INTERRUPTED;
}

static void add_to_wave(struct qb_timeline *t, const struct qb_outcome *o)
{
    const struct qb_timing *timing = &o->timing;
    double start = timing->started_seconds, end = qb_timing_end(timing);
    struct qb_timeline_wave *w;

    while (t->waves.n < timing->wave)
        if (t->waves.n == WAVES_MAX || !qb_vec_push(&t->waves, (struct qb_timeline_wave){0})) {
            t->whole = false;
            return;
        }
    w = &t->waves.items[timing->wave - 1];
    w->start = w->images == 0 ? start : QB_MIN(w->start, start);
    w->end = QB_MAX(w->end, end);
    w->images++;
    w->failed += is_failure(o->result.status);
    w->skipped += o->result.status == QB_STATUS_SKIPPED && o->result.err.code != QB_E_WHEN;
}

/* The images that a barrier covers come one after the other, or nearly so. */
static bool add_barrier(struct qb_timeline *t, const struct qb_span *span)
{
    for (size_t i = t->barriers.n, n = 0; i-- > 0 && n < BARRIERS_APART; n++)
        if (fabs(t->barriers.items[i].started_seconds - span->started_seconds) < 1e-6) {
            t->barriers.items[i].seconds = QB_MAX(t->barriers.items[i].seconds, span->seconds);
            return true;
        }
    return qb_vec_push(&t->barriers, *span);
}

static bool add_mark(struct qb_timeline *t, size_t job, const struct qb_span *span,
                     enum qb_work work, bool failed)
{
    t->workers = QB_MAX(t->workers, span->worker + 1);
    return qb_vec_push(&t->marks, (struct qb_timeline_mark){.job = (uint32_t)job,
                                                            .start = (float)span->started_seconds,
                                                            .seconds = (float)span->seconds,
                                                            .worker = (uint16_t)span->worker,
                                                            .work = (uint8_t)work,
                                                            .failed = failed});
}

void qb_timeline_add(struct qb_timeline *t, size_t job, const struct qb_outcome *outcome)
{
    static const enum qb_work works[QB_SPAN_COUNT] = {
        [QB_SPAN_WRITE] = QB_WORK_WRITE, [QB_SPAN_VERIFY] = QB_WORK_VERIFY}; /* else reading */
    const struct qb_timing *timing = &outcome->timing;
    enum qb_status status = outcome->result.status;

    if (timing->wave == 0)
        return;
    t->images++;
    add_to_wave(t, outcome);
    t->end = qb_max_double(t->end, qb_timing_end(timing));
    for (enum qb_span_kind i = 0; i < QB_SPAN_COUNT; i++) {
        const struct qb_span *span = &timing->spans[i];

        if (span->seconds > 0)
            t->whole &= qb_span_is_barrier(i)
                            ? add_barrier(t, span)
                            : add_mark(t, job, span, works[i], is_failure(status));
    }
    t->workers = QB_MAX(t->workers, 1);
}
