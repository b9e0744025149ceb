/* Restores the manifest's order of results.  Images end in the order that waves, locks and backing
 * files permit; they are reported in the manifest's order, or in that of a rollout.  Early results
 * are kept here: a hundred thousand of them may have to wait for one. */
#ifndef QB_RUN_REORDER_H
#define QB_RUN_REORDER_H

#include <stddef.h>
#include <stdint.h>

#include "outcome/outcome.h"

struct qb_hold;

struct qb_hold *qb_hold_new(size_t n_jobs); /* NULL when memory is short */
void qb_hold_free(struct qb_hold *hold);

/* Reports in another order: the job at each place, up to 2^31, in the lower 31 bits.  To be called
 * before any result is kept; outlives the hold. */
void qb_hold_order(struct qb_hold *hold, const uint32_t *order);

/* Passes results on as they come.  To be called before any result is kept; false when memory is
 * short. */
bool qb_hold_nothing(struct qb_hold *hold);

/* Keeps the result of a job; takes over what it owns.  When memory is short, the job is reported as
 * failed for that reason. */
void qb_hold_put(struct qb_hold *hold, size_t job, struct qb_outcome *outcome);

/* Takes the next result in that order, if it is available: sets *job and *outcome, which
 * the caller clears with qb_outcome_clear. */
bool qb_hold_next(struct qb_hold *hold, size_t *job, struct qb_outcome *outcome);

#endif
