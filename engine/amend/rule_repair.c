/* A dirty image: its refcounts and COPIED flags are rebuilt from the census. */
#include "amend/plan.h"
#include "amend/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    if (!(img->header.incompatible & QB_INCOMPAT_DIRTY))
        return 0;
    if (rq->fail_if_dirty)
        return qb_fail(err, QB_E_DIRTY, QB_NOWHERE,
                       "the image was not closed properly (dirty bit)");
    t->header.incompatible &= ~QB_INCOMPAT_DIRTY;
    t->rebuild_counts = true;
    t->reach = QB_REACH_TABLES;
    return 1;
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->repaired = plan->target.rebuild_counts;
}

const struct qb_rule qb_rule_repair = {.name = "repair", .resolve = resolve, .report = report};
