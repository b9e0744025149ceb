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
    BENCH_UNSURE,    /* too few runs for any difference to be more than chance */
    BENCH_UNDECIDED, /* of pairs: they show neither that it is slower nor that it is not */
    BENCH_NEW,       /* nothing to compare with */
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

/* Two builds in pairs.  `ratios`: the time by the other build's in each pair.  Whether it is slower
 * is whether the ratio lies above 1 + share; so a build is SAME only once it was shown to lie
 * below, SLOWER once it was shown to lie above, and UNDECIDED until either is.  `looks` is how
 * often that is asked while pairs are added: the chance of a false answer is that of all looks
 * together. before is 1, after the median ratio. */
struct bench_compared bench_compare_pairs(const double *ratios, size_t n, size_t looks,
                                          const struct bench_rule *rule);

/* Pairs at each look: `runs`, then half as many again each time, up to `most`. */
size_t bench_next_look(size_t n, size_t most);
size_t bench_looks(size_t runs, size_t most);

/* Both samples: larger is slower. */
struct bench_compared bench_compare_samples(const double *before, size_t n_before,
                                            const double *after, size_t n_after,
                                            const struct bench_rule *rule);

/* Compares qbatch's records one by one, a line of `out` each; the number that got slower, or -1
 * when memory is short.  Records that only `old` has are ignored. */
int bench_compare(const struct bench_records *old, const struct bench_records *fresh,
                  const struct bench_rule *rule, FILE *out);

/* Holds qbatch's records against those of the other qbatch of the same run: by the pairs, and by
 * the instructions where both have them, which have little noise: they also decide where pairs do
 * not. The number that got slower; -1 when memory is short.  *undecided: how many are. */
int bench_compare_other(const struct bench_records *fresh, const struct bench_rule *rule, FILE *out,
                        int *undecided);

#endif
