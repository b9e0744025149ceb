/* Results that wait for their turn.  Images end in the order that waves, locks and backing files
 * allow; they are told of in the manifest's order.  What ends early is kept here: a hundred
 * thousand of them may have to wait for one. */
#ifndef QB_RUN_REORDER_H
#define QB_RUN_REORDER_H

#include <stddef.h>

#include "job/outcome.h"

struct qb_hold;

struct qb_hold *qb_hold_new(size_t n_jobs); /* NULL when memory is short */
void qb_hold_free(struct qb_hold *hold);

/* Keeps the outcome of a job; takes over what it owns.  When memory is short, what will be told of
 * the job is a failure that says so. */
void qb_hold_put(struct qb_hold *hold, size_t job, struct qb_outcome *outcome);

/* Takes the next outcome in the order of the jobs, if it is there: *job and *outcome are set, and
 * the caller's to qb_outcome_clear. */
bool qb_hold_next(struct qb_hold *hold, size_t *job, struct qb_outcome *outcome);

#endif
