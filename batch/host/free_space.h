/* Enforces policy.min_free: books the space that appends in progress may still take of a file
 * system, so that images that are written at the same time do not rely on the same free bytes.
 *
 * Of a booking only the part that is not allocated yet counts: bytes that its file has been given
 * since then (st_blocks) are already missing from the file system's free space.  An image that does
 * not fit together with the bookings of others waits until they end, and is refused only by the
 * space that is free then. */
#ifndef QB_HOST_FREE_SPACE_H
#define QB_HOST_FREE_SPACE_H

#include "job/job.h"
#include "files/file.h"

struct qb_space;

struct qb_space *qb_space_new(void); /* NULL when memory is short */
void qb_space_free(struct qb_space *space);

/* Books `need` bytes for an append to `file`, which stays open until qb_space_end.  -1 with
 * QB_E_NO_SPACE if less than policy.min_free would stay free; then nothing is booked.  Does nothing
 * without min_free, for an empty append, and for a block device, which has its space already.  May
 * be called by several threads, and waits for the others' qb_space_end. */
int qb_space_begin(struct qb_space *space, const struct qb_policy *policy,
                   const struct qb_file *file, uint64_t need, struct qb_err *err);

/* To be called when the append has ended, also after a failure; harmless if nothing was booked. */
void qb_space_end(struct qb_space *space, const struct qb_file *file);

size_t qb_space_waiting(struct qb_space *space); /* threads that are waiting in qb_space_begin */

#endif
