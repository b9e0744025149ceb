/* Outcomes as bytes, for a process that is not believed to tell them to another one of the same
 * program: whoever reads them accepts no number, text or list that the program could not handle. */
#ifndef QB_OUTCOME_OUTCOME_WIRE_H
#define QB_OUTCOME_OUTCOME_WIRE_H

#include "outcome/outcome.h"
#include "outcome/wire.h"

/* Appends the outcome.  What was composed of it is left out: reports are texts of whoever is
 * believed. */
void qb_outcome_put(struct qb_wire *wire, const struct qb_outcome *outcome);

/* Reads what that appended, with nothing composed: false, with nothing to clear, if it is none, or
 * memory is short. */
bool qb_outcome_take(struct qb_wired *wired, struct qb_outcome *out);

#endif
