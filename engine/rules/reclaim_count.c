/* Counts the bytes on disk that `reclaim` frees: what is punched, and what is cut off, less what
 * the plan writes where the file had holes. */
#include "base/num.h"
#include "rules/reclaim.h"

struct count {
    struct qb_plan *plan;
    uint64_t block;        /* of the file system */
    size_t punched, taken; /* the first range that may reach into the extents that follow */
    uint64_t freed, covered;
};

/* What of [first, end) lies in the ranges. */
static uint64_t common(const struct qb_range *ranges, size_t n, size_t *at, uint64_t first,
                       uint64_t end, uint64_t block)
{
    uint64_t bytes = 0;

    for (; *at < n; ++*at) {
        uint64_t from = qb_max(first, qb_round_up(ranges[*at].first, block));
        uint64_t to = QB_MIN(end, ranges[*at].end - ranges[*at].end % block);

        if (from < to)
            bytes += to - from;
        if (ranges[*at].end > end)
            break;
    }
    return bytes;
}

/* By punches goes also what was never written; with the end that is cut off, only what may. */
static int count_extent(void *arg, const struct qb_extent *e, struct qb_err *err)
{
    struct count *c = arg;
    const struct qb_plan *plan = c->plan;
    bool cuts =
        (!e->unwritten || plan->in.rq->reclaim_reserved) && !plan->in.img->file->is_block_device;
    uint64_t cut = cuts ? QB_MAX(e->first, plan->reclaim.end) : e->end;

    c->freed += common(plan->freed.punches.items, plan->freed.punches.n, &c->punched, e->first,
                       QB_MIN(e->end, cut), c->block);
    c->freed += cut < e->end ? e->end - cut : 0;
    c->covered +=
        common(plan->place.room.items, plan->place.room.n, &c->taken, e->first, e->end, 1);
    return qb_io_go_on(plan->in.io, err);
}

int qb_reclaim_count(struct qb_plan *plan, uint64_t block, const struct qb_extent_list *list,
                     struct qb_err *err)
{
    struct qb_file *file = plan->in.img->file;
    struct count c = {.plan = plan, .block = block};
    uint64_t taken = 0;

    if (!plan->freed.punches.n && plan->reclaim.end >= file->size && !plan->reclaim.past_end)
        return 0;
    if (qb_extents_each_listed(list, plan->in.io, file, 0, count_extent, &c, err) < 0)
        return -1;
    qb_vec_each (r, &plan->place.room)
        taken += r->end - r->first;
    taken -= QB_MIN(taken, c.covered);
    plan->reclaim.bytes = c.freed - (plan->moves.from ? QB_MIN(taken, c.freed) : 0);
    return 0;
}
