/* Refuses to shrink a base image while overlays depend on it.
 *
 * What an overlay reads from its base ends with the base, so cutting off a base's end irreversibly
 * changes what the guests of its overlays read.  No other change of a base by an amend is visible
 * in them: levels, widths, flags and repairs leave every guest byte as it is.  Nor does a larger
 * size: an overlay that is longer than its base reads zeros past the base's end, and the part by
 * which a base grows reads zero too.  For another backing file of a base the user guarantees the
 * same content, as with `qemu-img rebase -u`; the report notes it.
 *
 * Overlays are looked for only in the batch, in its backing chains and where the manifest's `graph:
 * {scan: ...}` says, and only when some job could shrink an image. */
#ifndef QB_BACKING_SHRINK_GUARD_H
#define QB_BACKING_SHRINK_GUARD_H

#include "job/job.h"
#include "host/sched.h"

struct qb_overlays;

/* Reads the headers of the whole family before anything is written.  *out is NULL if no job can
 * shrink an image that may have an overlay.  -1 when memory is short.  To be called between the
 * loops of the sched. */
int qb_overlays_find(const struct qb_batch *batch, struct qb_sched *sched, bool (*stopped)(void),
                     struct qb_overlays **out, struct qb_err *err);
void qb_overlays_free(struct qb_overlays *overlays);

/* Whether this job, whose image is as `now` says now that it is locked, may continue: 0, or -1 with
 * QB_E_REFUSED, where it or its external data file has overlays, or where these could not be
 * determined.  `overlays` may be NULL. */
int qb_overlays_check(const struct qb_overlays *overlays, const struct qb_batch *batch, size_t job,
                      const struct qb_info *now, struct qb_err *err);

#endif
