/* Sorts and searches ranges, of bytes or of clusters. */
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

/* The place of the first of the ranges, which ascend and are apart, that ends past `at`; n: none
 * does. */
size_t qb_ranges_past(const struct qb_range *ranges, size_t n, uint64_t at);

/* Whether one of such ranges holds the byte. */
bool qb_ranges_hold(const struct qb_range *ranges, size_t n, uint64_t byte);

#endif
