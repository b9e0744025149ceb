/* Declares what moves clusters down in the file, for the rule `reclaim`. */
#ifndef QB_RULES_COMPACT_H
#define QB_RULES_COMPACT_H

#include "plan/new_tables.h"

/* Whether this plan moves clusters: nothing else is to be done, so that what moves is known. */
bool qb_compact_works(const struct qb_plan *plan);

/* Finds the clusters that move (plan->moves), and notes the tables that name one, or move
 * themselves, and the refcount blocks that move. */
int qb_compact_plan(struct qb_visit *v, struct qb_err *err);

/* Once everything has its place: what this commit moves, or, where other keys are done first, about
 * what those that follow will (plan->reclaim). */
int qb_compact_foresee(struct qb_plan *plan, struct qb_err *err);

/* compact_packed.c: lists the pieces of compressed data that move, and pins the clusters of all.
 * v->tables has every table. */
int qb_compact_list_packed(struct qb_visit *v, struct qb_err *err);

#endif
