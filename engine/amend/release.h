/* References that go away, and the counts that come of it. */
#ifndef QB_AMEND_RELEASE_H
#define QB_AMEND_RELEASE_H

#include "amend/plan.h"

/* ---- release.c ------------------------------------------------------------------------------- */

/* Takes n references off each cluster of [offset, offset + len), and notes what became free. */
int qb_plan_release(struct qb_plan *plan, uint64_t offset, uint64_t len, uint64_t n,
                    struct qb_err *err);

/* Takes n references off the clusters of one L2 entry. */
int qb_plan_release_entry(struct qb_plan *plan, uint64_t entry, uint64_t n, struct qb_err *err);

/* Notes that counts in refcount block `index` (of the target's width) change. */
int qb_plan_touch(struct qb_plan *plan, uint64_t index, struct qb_err *err);

/* ---- kept.c ---------------------------------------------------------------------------------- */

/* Sets plan->leaks to so many clusters. */
void qb_kept_note(struct qb_plan *plan, uint64_t clusters);

/* Reduces kept counts that do not fit the target's width, but not below the references and not
 * below 1; sets kept.n.  To be called when no reference changes any more. */
int qb_kept_clip(struct qb_plan *plan, struct qb_err *err);

/* Whether the cluster's refcount will be 1, which is what COPIED says. */
bool qb_count_is_single(struct qb_plan *plan, uint64_t cluster);

#endif
