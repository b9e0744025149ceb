/* Looks at and writes many entries of a standard L2 table at once, in loops without a branch, which
 * work on vectors. */
#ifndef QB_QCOW2_L2_BLOCK_H
#define QB_QCOW2_L2_BLOCK_H

#include <stdbool.h>

#include "qcow2/l2.h"

enum { QB_L2_BLOCK = 64 }; /* entries; no table has fewer */

/* If all of these, as they are on disk, are unallocated or plain zero clusters, the most frequent
 * case: the number of zero clusters.  Else -1. */
int qb_l2_block_zeros(const uint8_t *block);

/* Whether they name consecutive clusters of 2^bits bytes; `first` is the first entry. */
bool qb_l2_block_is_run(const uint8_t *block, uint64_t first, unsigned bits);

/* Writes the entries [i, i + n) of any table, of clusters of data that lie in a row; `entry` is the
 * first one. */
void qb_l2_put_data(const struct qb_geom *g, uint8_t *table, uint64_t i, uint64_t n,
                    uint64_t entry);

/* qb_l2_block_zeros for the entries from `i` on of any table; -1 in extended L2 tables. */
static inline int qb_l2_plain_zeros(const struct qb_geom *g, const uint8_t *table, uint64_t i)
{
    return g->l2_entry_size == 8 ? qb_l2_block_zeros(table + i * 8) : -1;
}

#endif
