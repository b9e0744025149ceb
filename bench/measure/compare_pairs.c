/* Compares two builds that were measured in pairs, as the regression gate does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "clock/stats.h"
#include "measure/compare.h"

size_t bench_next_look(size_t n, size_t most)
{
    return QB_MIN(n + QB_MAX(n / 2, 2), most);
}

size_t bench_looks(size_t runs, size_t most)
{
    size_t looks = 1;

    for (size_t n = runs; n < most; n = bench_next_look(n, most))
        looks++;
    return looks;
}

/* The probability of ratios at least this far above `line`, or below it, if they lie about it. */
static double p_of(const double *ratios, size_t n, double line, int sign)
{
    QB_AUTO(qb_buf) double *apart = malloc((n + 1) * sizeof(*apart));

    for (size_t i = 0; apart && i < n; i++)
        apart[i] = sign * (log(ratios[i]) - log(line));
    return apart ? bench_signed_rank(apart, n) : 1;
}

struct bench_compared bench_compare_pairs(const double *ratios, size_t n, size_t looks,
                                          const struct bench_rule *rule)
{
    double line = 1 + rule->share, chance = rule->chance / (double)QB_MAX(looks, 1);
    struct bench_compared c = {BENCH_UNDECIDED, 1, bench_median(ratios, n), 1};

    c.p = p_of(ratios, n, line, c.after > line ? 1 : -1);
    if (n == 0 || c.p > chance)
        return c;
    if (c.after > line)
        c.verdict = BENCH_SLOWER;
    else
        c.verdict = p_of(ratios, n, 1 / line, -1) <= chance ? BENCH_FASTER : BENCH_SAME;
    return c;
}

/* ---- records --------------------------------------------------------------------------------- */

/* By instructions, of which little is chance: how often threads look at what they wait for. */
static enum bench_verdict by_count(const struct bench_record *ours,
                                   const struct bench_record *other, const struct bench_rule *rule)
{
    double was = (double)other->instructions, is = (double)ours->instructions;

    if (!other->instructions || !ours->instructions)
        return BENCH_NEW;
    return is > was * (1 + rule->share)   ? BENCH_SLOWER
           : was > is * (1 + rule->share) ? BENCH_FASTER
                                          : BENCH_SAME;
}

static void print_pairs(FILE *out, const struct bench_record *ours,
                        const struct bench_record *other, const struct bench_compared *c,
                        enum bench_verdict counted)
{
    static const char *const words[] = {"same",      "faster", "SLOWER", "too few runs to tell",
                                        "undecided", ""};

    fprintf(out, "  %-50s time %.3f of the other's  %zu pairs  p %.4f  %s", ours->title, c->after,
            ours->n, c->p, words[c->verdict]);
    if (counted != BENCH_NEW)
        fprintf(out, "; instructions %.4f  %s",
                (double)ours->instructions / (double)other->instructions, words[counted]);
    fprintf(out, "\n");
}

static int compare_record(const struct bench_records *all, const struct bench_record *ours,
                          const struct bench_rule *rule, FILE *out, int *undecided)
{
    const char *other_name = bench_who_names[BENCH_OTHER];
    const struct bench_record *other = bench_records_find(all, ours->title, other_name);
    enum bench_verdict counted;
    struct bench_compared c;
    QB_AUTO(qb_buf) double *ratios = calloc(ours->n + 1, sizeof(*ratios));

    if (!ratios)
        return -1;
    if (!other || !other->ratios)
        return 0;
    for (size_t i = 0; i < other->n; i++)
        ratios[i] = 1 / other->ratios[i];
    c = bench_compare_pairs(ratios, other->n, QB_MAX(other->looks, 1), rule);
    counted = by_count(ours, other, rule);
    print_pairs(out, ours, other, &c, counted);
    if (c.verdict == BENCH_SLOWER || counted == BENCH_SLOWER)
        return 1;
    *undecided += c.verdict == BENCH_UNDECIDED && counted == BENCH_NEW;
    return 0;
}

int bench_compare_other(const struct bench_records *fresh, const struct bench_rule *rule, FILE *out,
                        int *undecided)
{
    int slower = 0;

    *undecided = 0;
    for (const struct bench_record *r = fresh->items; r < fresh->items + fresh->n; r++) {
        int one = strcmp(r->who, bench_who_names[BENCH_QBATCH])
                      ? 0
                      : compare_record(fresh, r, rule, out, undecided);

        if (one < 0)
            return -1;
        slower += one;
    }
    return slower;
}
