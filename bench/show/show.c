#include "show/show.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "clock/stats.h"

/* ---- progress -------------------------------------------------------------------------------- */

static void begins(void *arg, const struct bench_scene *scene, enum bench_who who, size_t run,
                   size_t of)
{
    char title[256];

    (void)arg;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%.60s  %zu/%zu  %s ",
                bench_scene_title(scene, title, sizeof(title)), run + 1, of, bench_who_names[who]);
}

const struct bench_listener bench_progress = {.begins = begins};

void bench_progress_clear(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* ---- numbers --------------------------------------------------------------------------------- */

const char *bench_seconds_text(double s, char *buf, size_t size)
{
    if (s < 0.9995e-3)
        snprintf(buf, size, "%.0f us", s * 1e6);
    else if (s < 0.9995)
        snprintf(buf, size, "%.*f ms", s < 0.01 ? 2 : s < 0.1 ? 1 : 0, s * 1e3);
    else
        snprintf(buf, size, "%.2f s", s);
    return buf;
}

static const char *rate_text(double rate, double step, const char *const *units, char *buf,
                             size_t size)
{
    size_t i = 0;

    while (rate >= step && units[i + 1]) {
        rate /= step;
        i++;
    }
    snprintf(buf, size, "%.*f %s", rate < 10 ? 2 : rate < 100 ? 1 : 0, rate, units[i]);
    return buf;
}

static const char *const counts[] = {"", "k", "M", "G", NULL};

/* ---- results --------------------------------------------------------------------------------- */

void bench_show_env(const struct bench_env *e, FILE *f)
{
    fprintf(f, "%s, %ld CPUs, %s; %s on %s (%s)\n", e->cpu, e->cpus, e->kernel, e->filesystem,
            e->device, e->mount_options);
    fprintf(f, "%s%s%s%s%s; load %.2f\n\n", e->qbatch, e->other[0] ? "; other: " : "", e->other,
            e->qemu_img[0] ? "; " : "", e->qemu_img, e->load);
}

static void show_rates(const struct bench_record *r, double median, FILE *f)
{
    static const char *const bytes[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", NULL};
    char a[32], b[32];

    if (r->images > 1)
        fprintf(f, "  %simages/s",
                rate_text((double)r->images / median, 1000, counts, a, sizeof(a)));
    if (r->clusters)
        fprintf(f, "  %sclusters/s",
                rate_text((double)r->clusters / median, 1000, counts, a, sizeof(a)));
    if (r->guest_bytes)
        fprintf(f, "  %s/s", rate_text((double)r->guest_bytes / median, 1024, bytes, b, sizeof(b)));
}

static void show_record(const struct bench_record *r, FILE *f)
{
    QB_AUTO(qb_buf) double *seconds = bench_record_seconds(r);
    char median[32], low[32], high[32], user[32], system[32];
    double u = 0, s = 0;
    struct bench_summary all;

    if (!seconds)
        return;
    all = bench_summarize(seconds, r->n);
    for (size_t i = 0; i < r->n; i++) {
        u += r->runs[i].user / (double)r->n;
        s += r->runs[i].system / (double)r->n;
    }
    fprintf(f, "  %-14s %9s  [%s .. %s]  user %s, system %s", r->who,
            bench_seconds_text(all.median, median, sizeof(median)),
            bench_seconds_text(all.min, low, sizeof(low)),
            bench_seconds_text(all.max, high, sizeof(high)),
            bench_seconds_text(u, user, sizeof(user)),
            bench_seconds_text(s, system, sizeof(system)));
    show_rates(r, all.median, f);
    if (r->instructions)
        fprintf(f, "  %sinstructions",
                rate_text((double)r->instructions, 1000, counts, median, sizeof(median)));
    if (r->method)
        fprintf(f, "  (%s)", r->method);
    fprintf(f, "\n");
}

/* Of the bare programs the fastest is the limit. */
static void show_methods(const struct bench_record *r, FILE *f)
{
    char text[32];
    const char *before = "  bare programs:";

    for (size_t m = 0; r->method && m < BENCH_LIMIT_METHODS; m++) {
        if (r->trials[m] > 0) {
            fprintf(f, "%s %s %s", before, bench_limit_methods[m].name,
                    bench_seconds_text(r->trials[m], text, sizeof(text)));
            before = ",";
        }
    }
    if (*before == ',')
        fprintf(f, "\n");
}

static double fastest(const struct bench_record *r)
{
    double least = INFINITY;

    for (size_t i = 0; i < r->n; i++)
        least = fmin(least, r->runs[i].seconds);
    return least;
}

/* The fastest runs of both sides say what is left when the machine disturbs neither. */
static void show_ratios(const struct bench_record *r, const struct bench_record *ours, bool pairs,
                        FILE *f)
{
    if (!r->ratios)
        return;
    fprintf(f, "  %s / qbatch: median %.3gx, fastest %.3gx", r->who, bench_median(r->ratios, r->n),
            fastest(r) / fastest(ours));
    if (r->method && bench_median(r->ratios, r->n) > 1)
        fprintf(f, " (beaten: it is not the limit)");
    for (size_t k = 0; pairs && k < r->n; k++)
        fprintf(f, "%s%.3g", k ? ", " : "; pair by pair ", r->ratios[k]);
    fprintf(f, "\n");
}

void bench_show(const struct bench_record *records, size_t n, bool pairs, FILE *f)
{
    if (!n || !records[0].n)
        return;
    fprintf(f, "%s\n", records[0].title);
    for (size_t i = 0; i < n; i++)
        show_record(&records[i], f);
    for (size_t i = 0; pairs && i < n; i++)
        show_methods(&records[i], f);
    for (size_t i = 1; i < n; i++) /* qbatch's own comes first */
        show_ratios(&records[i], &records[0], pairs, f);
    fprintf(f, "\n");
    fflush(f);
}
