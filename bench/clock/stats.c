#include "clock/stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

enum {
    EXACT_MAX = 20
}; /* above this the approximation is as good, and the counts outgrow a double */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(const double *values, size_t n)
{
    QB_AUTO(qb_buf) double *sorted = malloc((n + 1) * sizeof(*sorted));

    if (n == 0 || !sorted)
        return NAN;
    memcpy(sorted, values, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

struct bench_summary bench_summarize(const double *values, size_t n)
{
    struct bench_summary s = {0, 0, bench_median(values, n), INFINITY, -INFINITY};
    double squares = 0;

    if (n == 0)
        return (struct bench_summary){NAN, NAN, NAN, NAN, NAN};
    for (size_t i = 0; i < n; i++) {
        s.mean += values[i] / (double)n;
        s.min = fmin(s.min, values[i]);
        s.max = fmax(s.max, values[i]);
    }
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.stddev = n < 2 ? NAN : sqrt(squares / (double)(n - 1));
    return s;
}

/* ---- Mann-Whitney ---------------------------------------------------------------------------- */

/* How many of the pairs have `after` above `before`; equal ones count half. */
static double u_of(const double *before, size_t n, const double *after, size_t m, bool *ties)
{
    double u = 0;

    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < m; k++) {
            u += after[k] > before[i] ? 1 : after[k] < before[i] ? 0 : 0.5;
            *ties |= !(after[k] > before[i]) && !(after[k] < before[i]);
        }
    }
    return u;
}

/* ways[u]: the orders of n + m distinct values that give u.  They are the coefficients of the
 * Gaussian binomial, the product over i = 1..n of (1 - q^(m+i)) / (1 - q^i). */
static double *count_ways(size_t n, size_t m)
{
    size_t top = n * m;
    double *ways = calloc(top + 1, sizeof(*ways));

    if (!ways)
        return NULL;
    ways[0] = 1;
    for (size_t i = 1; i <= n; i++) {
        for (size_t u = top + 1; u-- > m + i;)
            ways[u] -= ways[u - m - i];
        for (size_t u = i; u <= top; u++)
            ways[u] += ways[u - i];
    }
    return ways;
}

static double exact_p(size_t n, size_t m, double u)
{
    QB_AUTO(qb_buf) double *ways = count_ways(n, m);
    double at_least = 0, all = 0;

    if (!ways)
        return 1;
    for (size_t i = 0; i <= n * m; i++) {
        all += ways[i];
        if ((double)i >= u)
            at_least += ways[i];
    }
    return at_least / all;
}

/* The sum of t^3 - t over the groups of t equal values. */
static double tie_term(const double *before, size_t n, const double *after, size_t m)
{
    QB_AUTO(qb_buf) double *all = malloc((n + m) * sizeof(*all));
    double sum = 0;

    if (!all)
        return 0;
    memcpy(all, before, n * sizeof(*all));
    memcpy(all + n, after, m * sizeof(*all));
    qsort(all, n + m, sizeof(*all), by_value);
    for (size_t i = 0, end; i < n + m; i = end) {
        double t;

        for (end = i + 1; end < n + m && !(all[end] > all[i]); end++)
            ;
        t = (double)(end - i);
        sum += t * t * t - t;
    }
    return sum;
}

static double normal_p(double n, double m, double u, double ties)
{
    double all = n + m;
    double variance = n * m / 12 * (all + 1 - ties / (all * (all - 1)));

    if (variance <= 0) /* every value is the same */
        return 1;
    return 0.5 * erfc((u - n * m / 2 - 0.5) / sqrt(2 * variance));
}

double bench_u_test(const double *before, size_t n, const double *after, size_t m)
{
    bool ties = false;
    double u;

    if (n == 0 || m == 0)
        return 1;
    u = u_of(before, n, after, m, &ties);
    if (!ties && n <= EXACT_MAX && m <= EXACT_MAX)
        return exact_p(n, m, u);
    return fmin(1, normal_p((double)n, (double)m, u, tie_term(before, n, after, m)));
}

double bench_u_test_floor(size_t n, size_t m)
{
    if (n == 0 || m == 0)
        return 1;
    if (n <= EXACT_MAX && m <= EXACT_MAX)
        return exact_p(n, m, (double)(n * m));
    return normal_p((double)n, (double)m, (double)n * (double)m, 0);
}

/* ---- Wilcoxon's signed ranks ----------------------------------------------------------------- */

enum { SIGNED_EXACT_MAX = 60 };

static int by_amount(const void *a, const void *b)
{
    double x = fabs(*(const double *)a), y = fabs(*(const double *)b);

    return (x > y) - (x < y);
}

/* Twice the rank of each, as those of equal amount share the mean of their ranks; returns the sum
 * of those above 0. */
static size_t rank_them(const double *sorted, size_t n, size_t *ranks)
{
    size_t above = 0;

    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !(fabs(sorted[end]) > fabs(sorted[i])); end++)
            ;
        for (size_t k = i; k < end; k++) {
            ranks[k] = i + end + 1;
            above += sorted[k] > 0 ? ranks[k] : 0;
        }
    }
    return above;
}

/* Of the 2^n ways to give signs to the ranks, the share that gives at least `above`. */
static double signs_p(const size_t *ranks, size_t n, size_t above)
{
    size_t top = n * (n + 1);
    QB_AUTO(qb_buf) double *share = calloc(top + 1, sizeof(*share));
    double p = 0;

    if (!share)
        return 1;
    share[0] = 1;
    for (size_t i = 0; i < n; i++) {
        for (size_t sum = top + 1; sum-- > 0;)
            share[sum] = (share[sum] + (sum >= ranks[i] ? share[sum - ranks[i]] : 0)) / 2;
    }
    for (size_t sum = above; sum <= top; sum++)
        p += share[sum];
    return p;
}

static double signs_normal_p(const size_t *ranks, size_t n, size_t above)
{
    double mean = (double)n * (double)(n + 1) / 2, variance = 0;

    for (size_t i = 0; i < n; i++)
        variance += (double)ranks[i] * (double)ranks[i] / 4;
    return 0.5 * erfc(((double)above - mean - 1) / sqrt(2 * variance));
}

double bench_signed_rank(const double *differences, size_t n)
{
    QB_AUTO(qb_buf) double *sorted = malloc((n + 1) * sizeof(*sorted));
    QB_AUTO(qb_buf) size_t *ranks = calloc(n + 1, sizeof(*ranks));
    size_t left = 0, above;

    for (size_t i = 0; sorted && i < n; i++) {
        if (differences[i] < 0 || differences[i] > 0)
            sorted[left++] = differences[i];
    }
    if (!sorted || !ranks || !left)
        return 1;
    qsort(sorted, left, sizeof(*sorted), by_amount);
    above = rank_them(sorted, left, ranks);
    return left <= SIGNED_EXACT_MAX ? signs_p(ranks, left, above)
                                    : signs_normal_p(ranks, left, above);
}
