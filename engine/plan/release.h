/* Drops references, and keeps the planned refcounts up to date. */
#ifndef QB_PLAN_RELEASE_H
#define QB_PLAN_RELEASE_H

#include "plan/plan.h"

/* ---- release.c ------------------------------------------------------------------------------- */

/* Drops n references of each cluster of [offset, offset + len), and notes which became free. */
int qb_plan_release(struct qb_plan *plan, uint64_t offset, uint64_t len, uint64_t n,
                    struct qb_err *err);

/* Drops `refs` references of the clusters of the entries [first, first + n) of an L2 table of the
 * image; those that name consecutive clusters are one run. */
int qb_plan_release_entries(struct qb_plan *plan, const uint8_t *table, uint64_t first, uint64_t n,
                            uint64_t refs, struct qb_err *err);

/* Notes that refcounts in block `index` (of the target's width) change. */
int qb_plan_touch(struct qb_plan *plan, uint64_t index, struct qb_err *err);

/* ---- kept.c ---------------------------------------------------------------------------------- */

/* Sets plan->leaks to this number of clusters. */
void qb_kept_note(struct qb_plan *plan, uint64_t clusters);

/* Reduces kept counts that do not fit the target's width, but not below the references and not
 * below 1; sets kept.n.  To be called after the last change of a reference. */
int qb_kept_clip(struct qb_plan *plan, struct qb_err *err);

/* Whether the cluster's refcount will be 1, so that COPIED must be set. */
bool qb_count_is_single(struct qb_plan *plan, uint64_t cluster);

#endif
