/* Persistent bitmaps: a downgrade drops them where the policy allows that, and a new size must
 * leave those that stay as valid as they are. */
#include "amend/release.h"
#include "amend/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;

    if (t->header.version != 2 || !qb_image_has_bitmaps(img, &ext))
        return 0;
    if (!rq->drop_bitmaps)
        return QB_REFUSE("compat=0.10 does not support persistent bitmaps, and the image has %u; "
                         "policy.drop_bitmaps "
                         "allows to drop them",
                         be32_get(ext.nb_bitmaps));
    t->drop_bitmaps = t->exts_change = true;
    return 1;
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    bool fit = true;

    if (!qb_target_resizes(plan->in.img, &plan->target) || plan->target.drop_bitmaps)
        return 0;
    if (qb_bitmaps_fit(plan->in.io, plan->in.img, plan->target.header.size, &fit, err) < 0)
        return -1;
    if (!fit)
        return QB_CANNOT(
            "the persistent bitmaps would have to grow with the disk, which is not supported yet");
    return 0;
}

static int release_range(void *arg, uint64_t offset, uint64_t len, const char *what,
                         struct qb_err *err)
{
    (void)what;
    return qb_plan_release(arg, offset, len, 1, err);
}

static int release(struct qb_plan *plan, struct qb_err *err)
{
    if (!plan->target.drop_bitmaps)
        return 0;
    return qb_bitmaps_walk(plan->in.io, plan->in.img, release_range, NULL, plan, err);
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->bitmaps_dropped = plan->target.drop_bitmaps;
}

const struct qb_rule qb_rule_bitmaps = {
    .name = "persistent bitmaps",
    .resolve = resolve,
    .probe = probe,
    .release = release,
    .report = report,
};
