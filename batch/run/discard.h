/* `qbatch undo --discard-undo`: frees what a run kept for its undo, by an amend of each image whose
 * plan drops exactly those references. */
#ifndef QB_RUN_DISCARD_H
#define QB_RUN_DISCARD_H

#include "run/undo_run.h"

/* As qb_takeback_run. */
int qb_discard_run(const struct qb_takeback *t, const struct qb_listener *listener,
                   struct qb_err *err);

#endif
