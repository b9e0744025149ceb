/* Saves what a dry run found as a file, which can be shown, agreed to and applied.
 *
 *     {"type":"plan","format":1, ...}      who, when, of which manifest; policy and limits
 *     {"type":"image","path":..., ...}     for each image, in the manifest's order: its request, as
 *                                          it is after defaults, rules and the command line, and
 * the result of the dry run
 *     {"type":"end","images":N,"digest":...}
 *
 * Values are texts of the manifest's language, so that they are read by its parsers.  A size that
 * is added is saved as the size that it comes to, and names of backing files as they were
 * rewritten. The file appears whole, readable by its user alone. */
#ifndef QB_SAVED_PLAN_WRITE_H
#define QB_SAVED_PLAN_WRITE_H

#include "opener/helper.h"
#include "job/job.h"
#include "outcome/outcome.h"

enum { QB_PLAN_FORMAT = 1 };

struct qb_plan_writer;

/* Begins the file; qb_state_prepare has been called for the batch.  NULL with *err. */
struct qb_plan_writer *qb_plan_write_begin(const char *path, const struct qb_batch *batch,
                                           struct qb_err *err);

/* Offers the errand that a confined process has of the file: its name. */
void qb_plan_write_offer(struct qb_plan_writer *w, struct qb_errands *errands,
                         struct qb_helper *helper);

/* Each image in its order.  A failure is told at the end. */
void qb_plan_write_image(struct qb_plan_writer *w, size_t job, const struct qb_outcome *outcome);

/* Names the file, or not; frees the writer.  -1 with *err. */
int qb_plan_write_end(struct qb_plan_writer *w, bool keep, struct qb_err *err);

#endif
