/* Keeps counts that have no reference in the amended image's refcounts: see struct qb_kept. */
#include "plan/release.h"

void qb_kept_note(struct qb_plan *plan, uint64_t clusters)
{
    plan->leaks.valid = true;
    plan->leaks.clusters = clusters;
    plan->leaks.bytes = clusters * plan->in.img->geom.cluster_size;
}

int qb_kept_clip(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    struct qb_count_page *const *pages = qb_counts_pages(&plan->kept.counts);
    uint64_t max = qb_refcount_max(plan->target.header.refcount_order), left = 0;

    for (size_t k = 0; k < plan->kept.counts.n_pages; k++) {
        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
            uint64_t cluster = pages[k]->number * QB_PAGE_COUNTS + i, over = 0, count;
            uint64_t kept = qb_page_count(pages[k], i);
            struct qb_counts_left rest;

            if (kept == 0)
                continue;
            count = qb_counts_get(counts, cluster);
            if (count > max && !plan->in.rq->keep_undo)
                over = QB_MIN(count - max, kept);
            if (over && (qb_counts_sub(counts, cluster, 1, over, &rest, err) < 0 ||
                         qb_counts_sub(&plan->kept.counts, cluster, 1, over, &rest, err) < 0))
                return -1;
            left += kept > over;
        }
    }
    if (plan->leaks.valid && !plan->leaks.freed && !plan->in.rq->keep_undo)
        qb_kept_note(plan, left);
    plan->kept.n = left;
    return 0;
}

bool qb_count_is_single(struct qb_plan *plan, uint64_t cluster)
{
    uint64_t max = qb_refcount_max(plan->target.header.refcount_order);

    return qb_min(qb_counts_get(&plan->census.counts, cluster), max) == 1;
}
