/* Images that must not become smaller because others stand on them.
 *
 * What an overlay reads from its base ends where the base does, so cutting off a base's end changes
 * what the guests of its overlays read, for good.  Nothing else that an amend does to a base shows
 * in them: levels, widths, flags and repairs leave every guest byte as it is.  Nor does a larger
 * size: an overlay that is longer than its base reads zeros behind the base's end, and what a base
 * gains by growing reads zero too.  Another backing file for a base is the user's word that it
 * holds the same, as with `qemu-img rebase -u`; the report notes it.
 *
 * Overlays are looked for only in the batch, in its backing chains and where the manifest's
 * `graph: {scan: ...}` says, and only when some job could shrink an image. */
#ifndef QB_BACKING_SHRINK_GUARD_H
#define QB_BACKING_SHRINK_GUARD_H

#include "job/job.h"
#include "host/sched.h"

struct qb_overlays;

/* Reads the headers of the whole family before anything is written.  *out is NULL where no job can
 * shrink an image that another one may stand on.  -1 when memory is short.  To be called between
 * the loops of the sched. */
int qb_overlays_find(const struct qb_batch *batch, struct qb_sched *sched, bool (*stopped)(void),
                     struct qb_overlays **out, struct qb_err *err);
void qb_overlays_free(struct qb_overlays *overlays);

/* Whether this job, whose image has `virtual_size` bytes now that it is locked, may go on: 0, or -1
 * with QB_E_REFUSED, also where it could not be found out what stands on it.  `overlays` may be
 * NULL. */
int qb_overlays_check(const struct qb_overlays *overlays, const struct qb_batch *batch, size_t job,
                      uint64_t virtual_size, struct qb_err *err);

#endif
