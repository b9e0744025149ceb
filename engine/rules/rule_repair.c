/* Refcounts that mean nothing.  In a dirty image they are all computed anew; on request those that
 * are too low are raised, in any image, and flags that do not fit are corrected: COPIED, and the
 * mark of a corrupt image, where the census then finds nothing wrong.  What else `repair` names is
 * done by the rules of leaks and of bitmaps. */
#include "plan/plan.h"
#include "plan/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    bool asked = qb_mends(rq, QB_REPAIR_REFCOUNTS | QB_REPAIR_LEAKS | QB_REPAIR_FLAGS);

    t->raise_counts = qb_mends(rq, QB_REPAIR_REFCOUNTS);
    t->correct_copied = qb_mends(rq, QB_REPAIR_REFCOUNTS | QB_REPAIR_FLAGS);
    if (qb_mends(rq, QB_REPAIR_FLAGS))
        t->header.incompatible &= ~QB_INCOMPAT_CORRUPT;
    if (asked)
        t->reach = QB_REACH_TABLES;
    if (!(img->header.incompatible & QB_INCOMPAT_DIRTY))
        return asked; /* whether that changes anything, the census will say */
    if (rq->fail_if_dirty && !t->raise_counts)
        return qb_fail(err, QB_E_DIRTY, QB_NOWHERE,
                       "the image was not closed properly (dirty bit)");
    t->header.incompatible &= ~QB_INCOMPAT_DIRTY;
    t->rebuild_counts = true;
    t->reach = QB_REACH_TABLES;
    return 1;
}

/* Leaks stay what they are unless they are to go (rule_leaks.c): a cluster's count becomes the
 * higher of its refcount and its references. */
static int check(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_census *c = &plan->census;

    (void)err;
    if (plan->target.rebuild_counts)
        return 0;
    if (plan->target.correct_copied && c->n_low + c->n_copied > 0)
        plan->new_tables.recheck_copied = true;
    plan->flags_corrected = plan->target.correct_copied ? c->n_copied : 0;
    plan->mended = c->n_low + c->n_copied + c->n_bad_blocks > 0;
    if (plan->target.raise_counts)
        plan->refcounts_raised = c->n_low;
    return 0;
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->repaired = plan->target.rebuild_counts;
    result->refcounts_raised = plan->refcounts_raised;
    result->flags_corrected = plan->flags_corrected;
    result->mark_cleared = (plan->in.img->header.incompatible & ~plan->target.header.incompatible) &
                           QB_INCOMPAT_CORRUPT;
}

const struct qb_rule qb_rule_repair = {
    .name = "repair", .resolve = resolve, .check = check, .report = report};
