/* Restores images of a run from the clones that it made: exchanges the names of the two files. */
#ifndef QB_UNDOING_RESTORE_H
#define QB_UNDOING_RESTORE_H

#include "undoing/undo_run.h"

/* As qb_takeback_run, one image at a time.  An image that was written since the run is refused,
 * unless `discard_writes`. */
int qb_restore_run(const struct qb_takeback *t, const struct qb_listener *listener,
                   struct qb_err *err);

/* Whether the run left a clone that is there, or is the image already. */
bool qb_restore_is_possible(const struct qb_trace *t);

#endif
