/* Keeps policy.min_free: books what appends under way may still take of a file system, so that
 * images that are written at the same time do not count on the same free bytes.
 *
 * A booking counts for what has not become real yet: bytes that its file has got since then
 * (st_blocks) are missing from the file system's free space already.  An image that does not fit
 * beside the bookings of others waits until they end, and is refused only on what is free then. */
#ifndef QB_HOST_FREE_SPACE_H
#define QB_HOST_FREE_SPACE_H

#include "job/job.h"
#include "io/file.h"

struct qb_space;

struct qb_space *qb_space_new(void); /* NULL when memory is short */
void qb_space_free(struct qb_space *space);

/* Books `need` bytes for an append to `file`, which stays open until qb_space_end.  -1 with
 * QB_E_NO_SPACE where less than policy.min_free would stay free, and nothing is booked then.  Does
 * nothing without min_free, for an append of nothing, and for a block device, whose space is its
 * own.  May be called by several threads, and waits for the others' qb_space_end. */
int qb_space_begin(struct qb_space *space, const struct qb_policy *policy,
                   const struct qb_file *file, uint64_t need, struct qb_err *err);

/* To be called when the append is over, well or not; harmless where nothing was booked. */
void qb_space_end(struct qb_space *space, const struct qb_file *file);

size_t qb_space_waiting(struct qb_space *space); /* threads that wait in qb_space_begin now */

#endif
