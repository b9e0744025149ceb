/* Draws a timeline as SVG. */
#include <stdlib.h>

#include "base/num.h"
#include "base/own.h"
#include "page/timeline.h"
#include "util/text.h"
#include "util/xml.h"

enum {
    LEFT = 80,    /* columns of the labels */
    WIDTH = 1000, /* of the whole; units of the picture */
    ROW = 14,
    STRIPE = 4, /* of moments in which images failed */
    GAP = 4,
    WAVE_ROWS = 4, /* as many as are under way at once */
    LANES_MAX = 32,
    ONE_BY_ONE = 1200, /* spans */
    BARRIERS_DRAWN = 600,
    BARS_MAX = 200, /* waves; more are drawn several in one */
    MOMENTS = 230,  /* that many images are told apart by */
    LEVELS = 4,     /* of how busy a moment was */
    SHADES = QB_WORK_COUNT * LEVELS,
};

static const char *const work_classes[QB_WORK_COUNT] = {
    [QB_WORK_READ] = "kr", [QB_WORK_WRITE] = "kw", [QB_WORK_VERIFY] = "kv"};

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

/* The part of a bar that `n` of its images have, never too thin to be seen. */
static double part_of(uint64_t n, uint64_t images)
{
    return n ? QB_MAX((double)n / (double)images * ROW, 2.0) : 0;
}

static void print_part(const struct canvas *c, const char *class, double x, double y, double width,
                       double height)
{
    if (height > 0)
        fprintf(c->f, "<rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f />", class, x, y, width,
                height);
}

static void print_bar_title(const struct canvas *c, const struct qb_timeline_wave *sum,
                            size_t first, size_t end)
{
    char from[QB_TEXT_NUMBER], to[QB_TEXT_NUMBER], images[QB_TEXT_NUMBER];

    fprintf(c->f, "<title>wave %zu", first + 1);
    if (end - first > 1)
        fprintf(c->f, " to %zu", end);
    fprintf(c->f, ": %s images, %s to %s", qb_text_count(sum->images, images),
            qb_text_seconds(sum->start, from), qb_text_seconds(sum->end, to));
    if (sum->failed)
        fprintf(c->f, ", %llu failed", (unsigned long long)sum->failed);
    if (sum->skipped)
        fprintf(c->f, ", %llu skipped", (unsigned long long)sum->skipped);
    fputs("</title>", c->f);
}

/* Colored by share: what failed is red from below, what was skipped above that. */
static void print_bar(const struct canvas *c, size_t first, size_t n)
{
    const struct qb_timeline_wave *waves = c->t->waves.items;
    struct qb_timeline_wave sum = waves[first];
    size_t end = QB_MIN(first + n, c->t->waves.n);
    double y = 20 + (double)(first / n % WAVE_ROWS) * (ROW + GAP), x, width, failed, skipped;

    for (size_t i = first + 1; i < end; i++) {
        sum.end = QB_MAX(sum.end, waves[i].end);
        sum.images += waves[i].images;
        sum.failed += waves[i].failed;
        sum.skipped += waves[i].skipped;
    }
    if (sum.images == 0)
        return;
    x = x_of(c, sum.start);
    width = qb_max_double(x_of(c, sum.end) - x, 1.5);
    failed = part_of(sum.failed, sum.images);
    skipped = qb_min_double(part_of(sum.skipped, sum.images), ROW - failed);
    fputs("<g>", c->f);
    print_part(c, "w", x, y, width, ROW - failed - skipped);
    print_part(c, "ws", x, y + ROW - failed - skipped, width, skipped);
    print_part(c, "wf", x, y + ROW - failed, width, failed);
    if (width > 26)
        fprintf(c->f, "<text class=in x=%.1f y=%.0f>%zu</text>", x + 4, y + 11, first + 1);
    print_bar_title(c, &sum, first, end);
    fputs("</g>\n", c->f);
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

/* When the disk was waited for; many barriers are drawn as one path without names. */
static void print_barriers(const struct canvas *c)
{
    unsigned y = c->top - 6 - (ROW + GAP);
    char took[QB_TEXT_NUMBER];

    if (c->t->barriers.n == 0)
        return;
    fprintf(c->f, "<text x=0 y=%u>barriers</text>", y + 11);
    if (c->t->barriers.n > BARRIERS_DRAWN)
        fputs("<path class=kb d=\"", c->f);
    for (size_t i = 0, step = qb_div_up(c->t->barriers.n, 2 * BARRIERS_DRAWN); i < c->t->barriers.n;
         i += step) {
        const struct qb_span *b = &c->t->barriers.items[i];
        double x = x_of(c, b->started_seconds),
               width = qb_max_double(x_of(c, b->started_seconds + b->seconds) - x, 0.5);

        if (c->t->barriers.n > BARRIERS_DRAWN)
            fprintf(c->f, "M%.1f %uh%.1fv%dh-%.1fz", x, y, width, ROW, width);
        else
            fprintf(c->f,
                    "<rect class=kb x=%.1f y=%u width=%.1f height=%d><title>barrier, "
                    "%s</title></rect>\n",
                    x, y, width, ROW, qb_text_seconds(b->seconds, took));
    }
    if (c->t->barriers.n > BARRIERS_DRAWN)
        fputs("\"/>\n", c->f);
}

static void print_one_by_one(const struct canvas *c, const struct qb_batch *batch)
{
    static const char *const words[] = {"reading and planning", "writing", "verifying"};
    char took[QB_TEXT_NUMBER];

    for (size_t i = 0; i < c->t->marks.n; i++) {
        const struct qb_timeline_mark *m = &c->t->marks.items[i];
        double x = x_of(c, m->start);

        fprintf(c->f, "<rect class=%s x=%.1f y=%u width=%.1f height=%d><title>",
                m->failed ? "kf" : work_classes[m->work], x, y_of(c, lane_of(c, m->worker)),
                qb_max_double(x_of(c, m->start + m->seconds) - x, 1.0), ROW);
        qb_markup_text(c->f, batch->jobs[m->job].path);
        fprintf(c->f, ", %s, %s%s</title></rect>\n", words[m->work],
                qb_text_seconds(m->seconds, took), m->failed ? ", failed" : "");
    }
}

/* What a lane was busy with in each moment, and whether one of its images failed there. */
struct moments {
    float busy[QB_WORK_COUNT][MOMENTS]; /* as shares */
    bool failed[MOMENTS];
};

static void add_moment(const struct canvas *c, struct moments *m,
                       const struct qb_timeline_mark *mark)
{
    double length = c->seconds / MOMENTS, from = mark->start, to = from + mark->seconds;
    size_t first = QB_MIN((size_t)(from / length), (size_t)MOMENTS - 1);

    m->failed[first] |= mark->failed;
    for (size_t i = first; i < MOMENTS && (double)i * length < to; i++) {
        double a = QB_MAX(from, (double)i * length), b = QB_MIN(to, (double)(i + 1) * length);

        m->busy[mark->work][i] += (float)(QB_MAX(b - a, 0.0) / length);
    }
}

/* 0: idle; LEVELS shades for each kind of work. */
static unsigned shade_of(const struct moments *m, size_t i)
{
    float all = 0;
    unsigned most = 0;

    for (unsigned w = 0; w < QB_WORK_COUNT; w++) {
        all += m->busy[w][i];
        most = m->busy[w][i] > m->busy[most][i] ? w : most;
    }
    if (all <= 0.001f)
        return 0;
    return most * LEVELS + 1 + QB_MIN((unsigned)(all * LEVELS), (unsigned)LEVELS - 1);
}

static void print_shade(const struct canvas *c, const struct moments *m, unsigned shade, unsigned y)
{
    double width = (double)(WIDTH - LEFT) / MOMENTS;
    bool any = false;

    for (size_t i = 0, end; i < MOMENTS; i = end) {
        for (end = i + 1; end < MOMENTS && shade_of(m, end) == shade_of(m, i);)
            end++;
        if (shade_of(m, i) != shade)
            continue;
        if (!any)
            fprintf(c->f, "<path class=\"%s l%u\" d=\"", work_classes[(shade - 1) / LEVELS],
                    (shade - 1) % LEVELS + 1);
        any = true;
        fprintf(c->f, "M%.1f %uh%.1fv%dh-%.1fz", LEFT + (double)i * width, y,
                (double)(end - i) * width, ROW, (double)(end - i) * width);
    }
    if (any)
        fputs("\"/>\n", c->f);
}

/* A stripe below the moments in which images failed, however few of those that were worked on. */
static void print_failed(const struct canvas *c, const struct moments *m, unsigned y)
{
    double width = (double)(WIDTH - LEFT) / MOMENTS;
    bool any = false;

    for (size_t i = 0, end; i < MOMENTS; i = end) {
        for (end = i + 1; end < MOMENTS && m->failed[end] == m->failed[i];)
            end++;
        if (!m->failed[i])
            continue;
        fprintf(c->f, "%sM%.1f %uh%.1fv%dh-%.1fz", any ? "" : "<path class=kf d=\"",
                LEFT + (double)i * width, y + ROW - STRIPE, (double)(end - i) * width, STRIPE,
                (double)(end - i) * width);
        any = true;
    }
    if (any)
        fputs("\"/>\n", c->f);
}

static void print_moments(const struct canvas *c)
{
    QB_AUTO(qb_buf) struct moments *lanes = calloc(c->lanes, sizeof(*lanes));

    for (size_t i = 0; lanes && i < c->t->marks.n; i++)
        add_moment(c, &lanes[lane_of(c, c->t->marks.items[i].worker)], &c->t->marks.items[i]);
    for (unsigned lane = 0; lanes && lane < c->lanes; lane++) {
        for (unsigned shade = 1; shade <= SHADES; shade++)
            print_shade(c, &lanes[lane], shade, y_of(c, lane));
        print_failed(c, &lanes[lane], y_of(c, lane));
    }
}

static void print_legend(const struct canvas *c, bool one_by_one)
{
    fprintf(c->f,
            "<p class=\"note legend\"><i class=kr></i>reading and planning <i class=kw></i>writing "
            "<i class=kv></i>verifying <i class=kb></i>a barrier: the disk is waited for "
            "<i class=kf></i>%s. ",
            one_by_one ? "an image that failed" : "below: images failed");
    fputs("A wave lasts from its first image to its last; its red share failed, its yellow was "
          "skipped.",
          c->f);
    fprintf(c->f, "%s%s</p>\n",
            one_by_one ? "" : " The stronger its color, the busier a worker was.",
            c->t->whole ? "" : " Some images are missing here, for want of memory.");
}

void qb_timeline_print(FILE *f, const struct qb_timeline *t, const struct qb_batch *batch)
{
    struct canvas c = {.f = f,
                       .t = t,
                       .seconds = QB_MAX(t->end, 1e-6),
                       .lanes = QB_MIN(t->workers, (unsigned)LANES_MAX)};
    unsigned rows = (unsigned)QB_MIN(t->waves.n, (size_t)WAVE_ROWS) + (t->barriers.n > 0);
    bool one_by_one = t->marks.n <= ONE_BY_ONE;

    if (t->images == 0 || t->waves.n == 0)
        return;
    c.top = 20 + rows * (ROW + GAP) + 6;
    c.end = y_of(&c, c.lanes);
    fprintf(f,
            "<div class=wide><svg viewBox=\"0 0 %d %u\" role=img aria-label=\"Timeline of waves, "
            "barriers and workers\">\n",
            WIDTH, c.end);
    print_ticks(&c);
    print_waves(&c);
    print_barriers(&c);
    print_labels(&c);
    if (one_by_one)
        print_one_by_one(&c, batch);
    else
        print_moments(&c);
    fputs("</svg></div>\n", f);
    print_legend(&c, one_by_one);
}
