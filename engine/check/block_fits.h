/* Whether a refcount block is exactly as counted. */
#ifndef QB_CHECK_BLOCK_FITS_H
#define QB_CHECK_BLOCK_FITS_H

#include "check/census.h"

/* Whether refcount block `index` counts what was counted, and nothing is marked with which a
 * comparison would find fault.  Reads only `block`, one cluster, and the counts, which several
 * threads may do at the same time. */
bool qb_block_fits(const struct qb_census *c, size_t index, const uint8_t *block);

#endif
