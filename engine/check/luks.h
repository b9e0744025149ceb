/* Whether the pointer to the LUKS header leads to one, and covers it.  Clusters of key material
 * that it misses look like leaks, and an image of which they are freed is never decrypted again. */
#ifndef QB_CHECK_LUKS_H
#define QB_CHECK_LUKS_H

#include "check/census.h"

/* Notes what is wrong with `len` bytes at `offset`, all of them in the file.  -1 where they cannot
 * be read. */
int qb_luks_check(struct qb_census *c, uint64_t offset, uint64_t len, struct qb_err *err);

#endif
