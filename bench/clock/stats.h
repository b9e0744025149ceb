/* Computes statistics of repeated measurements.  No I/O, no clock. */
#ifndef QB_CLOCK_STATS_H
#define QB_CLOCK_STATS_H

#include <stddef.h>

struct bench_summary {
    double mean, stddev, median, min, max; /* stddev: of a sample; NaN below two values */
};

/* All NaN when n is 0. */
struct bench_summary bench_summarize(const double *values, size_t n);
double bench_median(const double *values, size_t n);

/* The Mann-Whitney U test, one-sided: the probability of seeing `after` at least this much above
 * `before` when both come from one distribution.  Exact while no two values are equal and the
 * samples are small, else the normal approximation with corrections for ties and continuity.
 * 1 when either sample is empty. */
double bench_u_test(const double *before, size_t n_before, const double *after, size_t n_after);

/* The Wilcoxon signed-rank test of pairs, one-sided: the probability of seeing differences at least
 * this much above 0 when they lie about 0 symmetrically.  Exact; with more than 60 differences the
 * normal approximation.  Differences of 0 say nothing and are left out.  1 when none is left. */
double bench_signed_rank(const double *differences, size_t n);

/* The smallest probability that samples of these sizes can give. */
double bench_u_test_floor(size_t n_before, size_t n_after);

#endif
