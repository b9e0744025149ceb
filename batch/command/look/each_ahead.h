/* Has images opened before their turn, many in one errand of the helper (opener/opener.h), for
 * workers that take them in ascending order. */
#ifndef QB_LOOK_EACH_AHEAD_H
#define QB_LOOK_EACH_AHEAD_H

#include "job/job.h"
#include "io/io.h"

struct qb_each_ahead;

/* NULL where memory is short: then each image is opened by itself. */
struct qb_each_ahead *qb_each_ahead_new(const struct qb_batch *batch);
void qb_each_ahead_free(struct qb_each_ahead *ahead); /* NULL is fine; closes what nobody took */

/* By the worker whose turn image i is: its file, opened read-only, for qb_image_file_begin; fd -1:
 * it is not open.  Now and then it has the next images opened first. */
struct qb_file qb_each_ahead_take(struct qb_each_ahead *ahead, struct qb_io *io, size_t i);

#endif
