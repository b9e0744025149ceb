/* Decides whether new results are slower than old ones: by more than a given share, and by more
 * than chance explains. */
#ifndef QB_MEASURE_COMPARE_H
#define QB_MEASURE_COMPARE_H

#include <stdio.h>

#include "measure/records.h"

enum bench_verdict {
    BENCH_SAME, /* or within the share, or within the noise */
    BENCH_FASTER,
    BENCH_SLOWER,
    BENCH_UNSURE, /* too few runs for any difference to be more than chance */
    BENCH_NEW,    /* nothing to compare with */
};

/* What is compared: seconds, or with a contender's name the time by that contender's in the same
 * pair, which stays the same on a slower or busier machine. */
struct bench_rule {
    double share;   /* 0.10: ten percent */
    double chance;  /* 0.01: one comparison in a hundred of equals is called different */
    const char *by; /* NULL: seconds; else "limit", "qemu-img", "other" */
};

struct bench_compared {
    enum bench_verdict verdict;
    double before, after; /* medians */
    double p;             /* of a difference in the direction seen */
};

/* Both samples: larger is slower. */
struct bench_compared bench_compare_samples(const double *before, size_t n_before,
                                            const double *after, size_t n_after,
                                            const struct bench_rule *rule);

/* Compares qbatch's records one by one, a line of `out` each; the number that got slower, or -1
 * when memory is short.  Records that only `old` has are ignored. */
int bench_compare(const struct bench_records *old, const struct bench_records *fresh,
                  const struct bench_rule *rule, FILE *out);

/* Like it, with the other qbatch of the same run as the old results. */
int bench_compare_other(const struct bench_records *fresh, const struct bench_rule *rule,
                        FILE *out);

#endif
