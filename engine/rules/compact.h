/* Declares what moves clusters down in the file, for the rule `reclaim`. */
#ifndef QB_RULES_COMPACT_H
#define QB_RULES_COMPACT_H

#include "plan/new_tables.h"

/* Whether this plan moves clusters: nothing else is to be done, so that what moves is known. */
bool qb_compact_works(const struct qb_plan *plan);

/* Finds the clusters that move (plan->moves), and notes the tables that name one, or move
 * themselves, and the refcount blocks that move. */
int qb_compact_plan(struct qb_visit *v, struct qb_err *err);

#endif
