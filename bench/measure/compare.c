#include "measure/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "clock/stats.h"

struct bench_compared bench_compare_samples(const double *before, size_t n_before,
                                            const double *after, size_t n_after,
                                            const struct bench_rule *rule)
{
    struct bench_compared c = {BENCH_SAME, bench_median(before, n_before),
                               bench_median(after, n_after), 1};
    bool slower = c.after > c.before;

    if (bench_u_test_floor(n_before, n_after) > rule->chance) {
        c.verdict = BENCH_UNSURE;
        return c;
    }
    c.p = slower ? bench_u_test(before, n_before, after, n_after)
                 : bench_u_test(after, n_after, before, n_before);
    if (c.p > rule->chance)
        return c;
    if (c.after > c.before * (1 + rule->share))
        c.verdict = BENCH_SLOWER;
    else if (c.before > c.after * (1 + rule->share))
        c.verdict = BENCH_FASTER;
    return c;
}

/* Seconds of qbatch's runs, or its time by another's: the inverse of what the other's record
 * holds. */
static double *sample(const struct bench_records *all, const struct bench_record *ours,
                      const char *by, size_t *n)
{
    const struct bench_record *other = by ? bench_records_find(all, ours->title, by) : ours;
    double *values;

    *n = 0;
    if (!other || (by && !other->ratios))
        return calloc(1, sizeof(*values));
    values = bench_record_seconds(other);
    for (size_t i = 0; values && by && i < other->n; i++)
        values[i] = 1 / other->ratios[i];
    *n = other->n;
    return values;
}

static void print_line(FILE *out, const char *title, const struct bench_compared *c, const char *by)
{
    static const char *const words[] = {"same",      "faster", "SLOWER", "too few runs to tell",
                                        "undecided", "new"};

    fprintf(out, "  %-50s ", title);
    if (c->verdict == BENCH_NEW)
        fprintf(out, "%s\n", words[c->verdict]);
    else if (by)
        fprintf(out, "%8.3f -> %8.3f of %s  %+6.1f%%  p %.3f  %s\n", c->before, c->after, by,
                100 * (c->after / c->before - 1), c->p, words[c->verdict]);
    else
        fprintf(out, "%10.3f -> %10.3f ms  %+6.1f%%  p %.3f  %s\n", c->before * 1e3, c->after * 1e3,
                100 * (c->after / c->before - 1), c->p, words[c->verdict]);
}

/* 1 when this one got slower, 0 when not, -1 when memory is short. */
static int compare_one(const struct bench_records *old, const char *old_who,
                       const struct bench_records *fresh, const struct bench_record *ours,
                       const struct bench_rule *rule, FILE *out)
{
    const struct bench_record *was = bench_records_find(old, ours->title, old_who);
    struct bench_compared c = {BENCH_NEW, 0, 0, 1};
    size_t n = 0, m = 0;
    QB_AUTO(qb_buf) double *before = was ? sample(old, was, rule->by, &n) : calloc(1, 1);
    QB_AUTO(qb_buf) double *after = sample(fresh, ours, rule->by, &m);

    if (!before || !after)
        return -1;
    if (n && m)
        c = bench_compare_samples(before, n, after, m, rule);
    print_line(out, ours->title, &c, rule->by);
    return c.verdict == BENCH_SLOWER;
}

int bench_compare(const struct bench_records *old, const struct bench_records *fresh,
                  const struct bench_rule *rule, FILE *out)
{
    const char *us = bench_who_names[BENCH_QBATCH];
    int slower = 0;

    for (const struct bench_record *r = fresh->items; r < fresh->items + fresh->n; r++) {
        int one = strcmp(r->who, us) ? 0 : compare_one(old, us, fresh, r, rule, out);

        if (one < 0)
            return -1;
        slower += one;
    }
    return slower;
}
