/* Refuses to change an external data file that another image reads, too, and to convert a raw disk
 * that one reads.
 *
 * A new size zeroes, lengthens or cuts the data file, and `data_file` and `data_file_raw` say whose
 * it is from now on: where a second image has its data in that file, or an overlay its backing
 * file, or where it is itself an image, these would lose guest data.
 *
 * A raw disk that becomes an image has its bytes elsewhere: an overlay that reads it as raw, or an
 * image that has its data in it, would read metadata.
 *
 * The other images are those of the batch, of its backing chains, and of what the manifest's
 * `graph: {scan: ...}` finds.  Their headers are read when the first image comes that has an
 * external data file and such a request, or is converted: other runs read nothing for this. */
#ifndef QB_BACKING_DATA_GUARD_H
#define QB_BACKING_DATA_GUARD_H

#include "job/job.h"
#include "host/sched.h"

struct qb_data_guard;

/* All of it must outlive the guard, and `stopped` may be NULL.  NULL when memory is short. */
struct qb_data_guard *qb_data_guard_new(const struct qb_batch *batch, struct qb_sched *sched,
                                        bool (*stopped)(void));
void qb_data_guard_free(struct qb_data_guard *guard);

/* Reads them now, if that is not done yet: for a process that cannot open files later.  What fails,
 * fails again where it is needed. */
void qb_data_guard_read(struct qb_data_guard *guard);

/* Whether the open and locked image, which is as `now` says, may get what is requested: 0, or -1
 * with QB_E_REFUSED, which names the other image.  To be called between the loops of the sched. */
int qb_data_guard_check(struct qb_data_guard *guard, const struct qb_file *image,
                        const struct qb_request *rq, const struct qb_info *now, struct qb_err *err);

#endif
