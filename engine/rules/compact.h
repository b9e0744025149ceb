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

/* compact_from.c: what is done with the clusters [first, end) of a page of the counts, ... */
typedef int qb_compact_page_fn(struct qb_plan *plan, const struct qb_count_page *p, uint64_t first,
                               uint64_t end, void *arg, struct qb_err *err);

/* ... and each page that ends past cluster `from`, ascending. */
int qb_compact_each_page(struct qb_plan *plan, uint64_t from, qb_compact_page_fn *fn, void *arg,
                         struct qb_err *err);

/* Clusters that are counted, leaks among them. */
int qb_compact_count_used(struct qb_plan *plan, uint64_t *n, struct qb_err *err);

/* The most clusters of metadata that may be rewritten, but for that of bitmaps. */
uint64_t qb_compact_metadata(const struct qb_plan *plan);

/* The cluster from which on clusters move, where `used` are counted; it may lie past the end. */
int qb_compact_from(struct qb_plan *plan, uint64_t used, uint64_t *from, struct qb_err *err);

/* compact_packed.c: lists the pieces of compressed data that move, and pins the clusters of all.
 * v->tables has every table. */
int qb_compact_list_packed(struct qb_visit *v, struct qb_err *err);

#endif
