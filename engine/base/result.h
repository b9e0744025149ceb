/* Copies and frees what a result points to (qbatch.h): names, the error's text, sectors.
 *
 * While an image is amended its result borrows them from the amend.  Before that is freed they are
 * copied into one block, `memory`, so that a result can be moved by assignment and is freed by one
 * call. */
#ifndef QB_BASE_RESULT_H
#define QB_BASE_RESULT_H

#include "base/err.h"

enum { QB_RESULT_SECTOR = 512 }; /* bytes of old_sector and new_sector */

/* Copies all that the result points to into new memory of its own, and frees what it had.  When
 * memory is short the result keeps all its numbers but no pointers: before, after and the sectors
 * are NULL, and an error has a text that says so. */
void qb_result_own(struct qb_result *result);

/* Sets the error of a result that owns what it points to, or points to nothing; copies it. */
void qb_result_fail(struct qb_result *result, const struct qb_err *err);

/* Frees what the result owns. */
void qb_result_clear(struct qb_result *result);

#endif
