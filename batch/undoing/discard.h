/* `qbatch undo --discard-undo`: frees what a run kept for its undo, by an amend of each image whose
 * plan drops exactly those references. */
#ifndef QB_UNDOING_DISCARD_H
#define QB_UNDOING_DISCARD_H

#include "undoing/undo_run.h"

/* As qb_takeback_run. */
int qb_discard_run(const struct qb_takeback *t, const struct qb_listener *listener,
                   struct qb_err *err);

#endif
