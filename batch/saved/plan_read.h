/* Reads a saved plan (plan_write.h) into a batch that is run like that of a manifest.
 *
 * A plan is trusted as a journal is: a regular file of the effective user that no other user can
 * write.  Nothing of a file is used unless all of it is whole: every line, the number of images,
 * and the digest at its end. */
#ifndef QB_SAVED_PLAN_READ_H
#define QB_SAVED_PLAN_READ_H

#include "job/job.h"
#include "record/report_read.h"

/* Who made the plan, and of what. */
struct qb_plan_head {
    char *saved, *qbatch, *manifest, *manifest_print; /* owned; NULL: not told */
    struct qb_origin origin;                          /* of the command that made it */
};

void qb_plan_head_free(struct qb_plan_head *head);

/* Calls fn for each line of a file that is whole, with the object of an image's line, or NULL for
 * the others.  fn may be NULL, to check alone. */
typedef void qb_plan_line_fn(void *arg, const char *text, size_t len,
                             const struct qb_read_line *image);

/* Reads the file at `path`: *batch (initialised) gets its jobs with `planned`, its settings, labels
 * and name; free both in either case.  -1 with *err: nothing of the file is to be used. */
int qb_plan_read(const char *path, struct qb_batch *batch, struct qb_plan_head *head,
                 struct qb_err *err);

/* The lines of a file that qb_plan_read has read: -1 with *err when it has changed since. */
int qb_plan_each_line(const char *path, const struct qb_batch *batch, qb_plan_line_fn *fn,
                      void *arg, struct qb_err *err);

#endif
