/* Counts entries of standard L2 tables that nothing is wrong with, which is nearly all of them.
 * Several threads may do that for one image, each with a struct of its own. */
#ifndef QB_CHECK_PLAIN_ENTRIES_H
#define QB_CHECK_PLAIN_ENTRIES_H

#include "check/census.h"

struct qb_plain_entries {
    const struct qb_image *img;
    struct qb_counts *counts;
    struct qb_census_place first_compressed; /* zeros: none was met */
};

/* Whether the image's tables have entries that this file knows. */
bool qb_plain_knows(const struct qb_image *img);

/* Counts the entries of table `t` from `i` on, and adds their kinds to *note, up to the first one
 * that is not plain, at which it sets *stop; to the end of the table, if there is none. */
int qb_plain_count(struct qb_plain_entries *p, const struct qb_l2_table *t, const uint8_t *table,
                   uint64_t i, struct qb_table_note *note, uint64_t *stop, struct qb_err *err);

#endif
