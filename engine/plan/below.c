/* Opens the target's backing chain as far as planning needs it. */
#include "plan/plan.h"

static int open_files(struct qb_plan *plan, bool whole, struct qb_err *err)
{
    const struct qb_target *t = &plan->target;
    unsigned how = whole ? QB_CHAIN_WHOLE : QB_CHAIN_NEAREST;

    if (!plan->in.rq->fail_if_remote)
        how |= QB_CHAIN_ASSUME;
    qb_chain_close(&plan->below.chain);
    plan->below.known = plan->below.whole = false;
    if (qb_chain_open(plan->in.io,
                      &(struct qb_chain_top){plan->in.img->file->path, plan->in.img->file,
                                             t->backing_name, t->backing_fmt},
                      how, &plan->below.chain, err) < 0)
        return -1;
    plan->below.size = qb_chain_size(&plan->below.chain);
    plan->below.known = true;
    plan->below.whole = whole;
    return 0;
}

int qb_below_open(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_target *t = &plan->target;
    uint64_t size = plan->in.img->header.size;
    bool resizes = qb_target_resizes(plan->in.img, t);
    bool whole = plan->in.rq->zero_clusters == QB_ZERO_DEFER ||
                 (resizes && size % plan->in.img->geom.cluster_size);

    if (!t->backing_name[0] || plan->below.chain.n)
        return 0;
    if (plan->in.lent && !whole && !resizes && !t->name_changes) {
        plan->below.size = qb_chain_size(plan->in.lent);
        plan->below.known = true;
        return 0;
    }
    if (open_files(plan, whole, err) < 0)
        return -1;
    if (!whole && t->header.size > size && plan->below.size > size)
        return open_files(plan, true, err);
    return 0;
}

int qb_below_open_to_read(struct qb_plan *plan, struct qb_err *err)
{
    if (!plan->target.backing_name[0])
        return 0;
    if (!plan->below.whole && open_files(plan, true, err) < 0)
        return -1;
    return qb_chain_check_readable(plan->in.io, &plan->below.chain, err);
}

int qb_below_read(struct qb_io *io, struct qb_plan *plan, uint64_t guest, uint8_t *to, uint64_t len,
                  struct qb_err *err)
{
    if (plan->target.backing_name[0] && guest < plan->below.size)
        return qb_chain_read(io, &plan->below.chain, guest, len, to, err);
    for (uint64_t i = 0; i < len; i++)
        to[i] = 0;
    return 0;
}
