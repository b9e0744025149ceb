#include "report/timeline.h"

#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "util/xml.h"
#include "util/text.h"

enum {
    LEFT = 80,    /* columns of the labels */
    WIDTH = 1000, /* of the whole; units of the picture */
    ROW = 14,
    GAP = 4,
    WAVE_ROWS = 4, /* as many as are under way at once */
    LANES_MAX = 32,
    ONE_BY_ONE = 400,    /* images */
    BARS_MAX = 200,      /* waves; more are drawn several in one */
    WAVES_MAX = 1 << 20, /* more are not in the picture */
    MOMENTS = 230,       /* that many images are told apart by */
    LEVELS = 4,          /* of how busy a moment was */
};

void qb_timeline_init(struct qb_timeline *t)
{
    *t = (struct qb_timeline){.whole = true};
}

void qb_timeline_free(struct qb_timeline *t)
{
    qb_vec_free(&t->marks);
    qb_vec_free(&t->waves);
}

static bool is_failure(enum qb_status status)
{
    return status == QB_STATUS_FAILED || status == QB_STATUS_INTERRUPTED;
}

static void add_to_wave(struct qb_timeline *t, const struct qb_timing *timing, bool failed)
{
    double start = timing->started_seconds, end = start + timing->seconds;
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
    w->failed += failed;
}

void qb_timeline_add(struct qb_timeline *t, size_t job, const struct qb_outcome *outcome)
{
    const struct qb_timing *timing = &outcome->timing;
    const struct qb_result *r = &outcome->result;
    double busy =
        r->open_seconds + r->read_seconds + r->plan_seconds + r->write_seconds + r->verify_seconds;
    struct qb_timeline_mark mark = {.job = (uint32_t)job,
                                    .start = (float)timing->started_seconds,
                                    .busy = (float)QB_MIN(busy, timing->seconds),
                                    .worker = timing->worker,
                                    .status = r->status};

    if (timing->wave == 0)
        return;
    t->whole &= qb_vec_push(&t->marks, mark);
    add_to_wave(t, timing, is_failure(r->status));
    t->end = QB_MAX(t->end, timing->started_seconds + timing->seconds);
    t->workers = QB_MAX(t->workers, timing->worker + 1);
}

/* ---- the picture ----------------------------------------------------------------------------- */

struct canvas {
    FILE *f;
    const struct qb_timeline *t;
    double seconds;    /* that the width stands for */
    unsigned lanes;    /* for the workers, which share them where there are too many */
    unsigned top, end; /* of the workers' lanes */
};

static double x_of(const struct canvas *c, double seconds)
{
    return LEFT + seconds / c->seconds * (WIDTH - LEFT);
}

static unsigned lane_of(const struct canvas *c, unsigned worker)
{
    return (unsigned)((uint64_t)worker * c->lanes / c->t->workers);
}

static unsigned y_of(const struct canvas *c, unsigned lane)
{
    return c->top + lane * (ROW + GAP);
}

/* About five steps of 1, 2 or 5 times a power of ten. */
static double tick_of(double seconds)
{
    double power = 1e-9, steps;

    while (power * 10 <= seconds / 5)
        power *= 10;
    steps = seconds / 5 / power;
    return power * (steps > 5 ? 10 : steps > 2 ? 5 : steps > 1 ? 2 : 1);
}

static const char *tick_text(double at, double tick, char text[QB_TEXT_NUMBER])
{
    if (at == 0)
        return "0";
    snprintf(text, QB_TEXT_NUMBER, "%.6g %s", tick < 0.1 ? at * 1e3 : at, tick < 0.1 ? "ms" : "s");
    return text;
}

static void print_ticks(const struct canvas *c)
{
    double tick = tick_of(c->seconds);
    char text[QB_TEXT_NUMBER];

    for (unsigned i = 0; i * tick <= c->seconds; i++) {
        double x = x_of(c, i * tick);

        fprintf(c->f, "<path class=grid d=\"M%.1f 16V%u\"/>", x, c->end);
        fprintf(c->f, "<text x=%.1f y=11%s>%s</text>", x,
                x > WIDTH - 40 ? " text-anchor=end" : " text-anchor=middle",
                tick_text(i * tick, tick, text));
    }
    fputc('\n', c->f);
}

static void print_bar(const struct canvas *c, size_t first, size_t n)
{
    const struct qb_timeline_wave *waves = c->t->waves.items;
    struct qb_timeline_wave sum = waves[first];
    size_t end = QB_MIN(first + n, c->t->waves.n);
    unsigned y = 20 + (unsigned)(first / n % WAVE_ROWS) * (ROW + GAP);
    char from[QB_TEXT_NUMBER], to[QB_TEXT_NUMBER], images[QB_TEXT_NUMBER];
    double x, width;

    for (size_t i = first + 1; i < end; i++) {
        sum.end = QB_MAX(sum.end, waves[i].end);
        sum.images += waves[i].images;
        sum.failed += waves[i].failed;
    }
    if (sum.images == 0)
        return;
    x = x_of(c, sum.start);
    width = QB_MAX(x_of(c, sum.end) - x, 1.5);
    fprintf(c->f, "<g><rect class=%s x=%.1f y=%u width=%.1f height=%d rx=2 />",
            sum.failed ? "wf" : "w", x, y, width, ROW);
    if (width > 26)
        fprintf(c->f, "<text class=in x=%.1f y=%u>%zu</text>", x + 4, y + 11, first + 1);
    fprintf(c->f, "<title>wave %zu", first + 1);
    if (end - first > 1)
        fprintf(c->f, " to %zu", end);
    fprintf(c->f, ": %s images, %s to %s", qb_text_count(sum.images, images),
            qb_text_seconds(sum.start, from), qb_text_seconds(sum.end, to));
    if (sum.failed)
        fprintf(c->f, ", %llu failed", (unsigned long long)sum.failed);
    fputs("</title></g>\n", c->f);
}

static void print_waves(const struct canvas *c)
{
    size_t n = qb_div_up(c->t->waves.n, BARS_MAX);

    fprintf(c->f, "<text x=0 y=31>waves</text>");
    for (size_t first = 0; first < c->t->waves.n; first += n)
        print_bar(c, first, n);
}

static void print_labels(const struct canvas *c)
{
    for (unsigned lane = 0, w = 0; lane < c->lanes; lane++) {
        unsigned first = w;

        while (w < c->t->workers && lane_of(c, w) == lane)
            w++;
        fprintf(c->f, "<text x=0 y=%u>worker %u", y_of(c, lane) + 11, first);
        if (w - first > 1)
            fprintf(c->f, "-%u", w - 1);
        fputs("</text>", c->f);
    }
    fputc('\n', c->f);
}

static void print_one_by_one(const struct canvas *c, const struct qb_batch *batch)
{
    static const char letters[] = {
        [QB_STATUS_CHANGED] = 'c', [QB_STATUS_UNCHANGED] = 'u', [QB_STATUS_WOULD_CHANGE] = 'p',
        [QB_STATUS_SKIPPED] = 's', [QB_STATUS_FAILED] = 'f',    [QB_STATUS_INTERRUPTED] = 'i'};
    char busy[QB_TEXT_NUMBER];

    for (size_t i = 0; i < c->t->marks.n; i++) {
        const struct qb_timeline_mark *m = &c->t->marks.items[i];
        double x = x_of(c, m->start);

        fprintf(c->f, "<rect class=%c x=%.1f y=%u width=%.1f height=%d><title>", letters[m->status],
                x, y_of(c, lane_of(c, m->worker)), QB_MAX(x_of(c, m->start + m->busy) - x, 1.5),
                ROW);
        qb_markup_text(c->f, batch->jobs[m->job].path);
        fprintf(c->f, ", %s</title></rect>\n", qb_text_seconds(m->busy, busy));
    }
}

/* How busy a lane was in each moment, and whether one of its images failed there. */
struct moments {
    float busy[MOMENTS]; /* as a share */
    bool failed[MOMENTS];
};

static void add_moment(const struct canvas *c, struct moments *m,
                       const struct qb_timeline_mark *mark)
{
    double length = c->seconds / MOMENTS, from = mark->start, to = from + mark->busy;
    size_t first = QB_MIN((size_t)(from / length), (size_t)MOMENTS - 1);

    m->failed[first] |= is_failure(mark->status);
    for (size_t i = first; i < MOMENTS && (double)i * length < to; i++) {
        double a = QB_MAX(from, (double)i * length), b = QB_MIN(to, (double)(i + 1) * length);

        m->busy[i] += (float)(QB_MAX(b - a, 0.0) / length);
    }
}

/* 0: idle, 1 to LEVELS: busy, one more: something failed. */
static unsigned level_of(const struct moments *m, size_t i)
{
    if (m->failed[i])
        return LEVELS + 1;
    if (m->busy[i] <= 0.001f)
        return 0;
    return 1 + QB_MIN((unsigned)(m->busy[i] * LEVELS), (unsigned)LEVELS - 1);
}

static void print_level(const struct canvas *c, const struct moments *m, unsigned level, unsigned y)
{
    double width = (double)(WIDTH - LEFT) / MOMENTS;
    bool any = false;

    for (size_t i = 0, end; i < MOMENTS; i = end) {
        for (end = i + 1; end < MOMENTS && level_of(m, end) == level_of(m, i);)
            end++;
        if (level_of(m, i) != level)
            continue;
        if (!any)
            fprintf(c->f, "<path class=l%u d=\"", level);
        any = true;
        fprintf(c->f, "M%.1f %uh%.1fv%dh-%.1fz", LEFT + (double)i * width, y,
                (double)(end - i) * width, ROW, (double)(end - i) * width);
    }
    if (any)
        fputs("\"/>\n", c->f);
}

static void print_moments(const struct canvas *c)
{
    QB_AUTO(qb_buf) struct moments *lanes = calloc(c->lanes, sizeof(*lanes));

    for (size_t i = 0; lanes && i < c->t->marks.n; i++)
        add_moment(c, &lanes[lane_of(c, c->t->marks.items[i].worker)], &c->t->marks.items[i]);
    for (unsigned lane = 0; lanes && lane < c->lanes; lane++)
        for (unsigned level = 1; level <= LEVELS + 1; level++)
            print_level(c, &lanes[lane], level, y_of(c, lane));
}

void qb_timeline_print(FILE *f, const struct qb_timeline *t, const struct qb_batch *batch)
{
    struct canvas c = {.f = f,
                       .t = t,
                       .seconds = QB_MAX(t->end, 1e-6),
                       .lanes = QB_MIN(t->workers, (unsigned)LANES_MAX)};
    unsigned rows = (unsigned)QB_MIN(t->waves.n, (size_t)WAVE_ROWS);
    bool one_by_one = t->marks.n <= ONE_BY_ONE;

    if (t->marks.n == 0 || t->waves.n == 0)
        return;
    c.top = 20 + rows * (ROW + GAP) + 6;
    c.end = y_of(&c, c.lanes);
    fprintf(f,
            "<div class=wide><svg viewBox=\"0 0 %d %u\" role=img aria-label=\"Timeline of waves "
            "and workers\">\n",
            WIDTH, c.end);
    print_ticks(&c);
    print_waves(&c);
    print_labels(&c);
    if (one_by_one)
        print_one_by_one(&c, batch);
    else
        print_moments(&c);
    fprintf(f, "</svg></div>\n<p class=note>%s%s</p>\n",
            one_by_one
                ? "Above, each wave from its first image to the last; below, each image on "
                  "its worker, as long as that was busy with it."
                : "Above, each wave from its first image to the last; below, how busy each "
                  "worker was: the stronger its color the more, and red where an image failed.",
            t->whole ? "" : " Some of them are missing here, for want of memory.");
}
