/* Sorts and searches ranges of bytes. */
#ifndef QB_BASE_RANGES_H
#define QB_BASE_RANGES_H

#include "base/num.h"

/* A vector of them (vec.h). */
struct qb_ranges {
    struct qb_range *items;
    size_t n, cap;
};

/* By where they begin. */
void qb_ranges_sort(struct qb_range *ranges, size_t n);

/* Whether one of the ranges, which ascend and are apart, holds the byte. */
bool qb_ranges_hold(const struct qb_range *ranges, size_t n, uint64_t byte);

#endif
