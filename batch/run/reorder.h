/* Restores the manifest's order of results.  Images end in the order that waves, locks and backing
 * files permit; they are reported in the manifest's order.  Early results are kept here: a hundred
 * thousand of them may have to wait for one. */
#ifndef QB_RUN_REORDER_H
#define QB_RUN_REORDER_H

#include <stddef.h>

#include "job/outcome.h"

struct qb_hold;

struct qb_hold *qb_hold_new(size_t n_jobs); /* NULL when memory is short */
void qb_hold_free(struct qb_hold *hold);

/* Keeps the result of a job; takes over what it owns.  When memory is short, the job is reported as
 * failed for that reason. */
void qb_hold_put(struct qb_hold *hold, size_t job, struct qb_outcome *outcome);

/* Takes the next result in the order of the jobs, if it is available: sets *job and *outcome, which
 * the caller clears with qb_outcome_clear. */
bool qb_hold_next(struct qb_hold *hold, size_t *job, struct qb_outcome *outcome);

#endif
