/* Decides about leaks: clusters whose refcount on disk is above the number of their references.
 *
 * Leaks are evidence: the clusters under a table that was lost still hold what the guest wrote.  By
 * default an amend neither makes nor frees any.  A kept leak is in the final counts like a
 * reference that never goes away, so that nothing is allocated there, nothing is discarded there,
 * and COPIED follows the refcount that the disk will hold. */
#include <inttypes.h>

#include "amend/plan.h"

/* Ranges of leaked clusters whose space is freed; a megabyte of hostile refcounts can hold eight
 * million.  Those past the limit are free for the guest all the same. */
#define FREED_RANGES (1u << 20)

static void note(struct qb_plan *plan, uint64_t clusters)
{
    plan->leaks.valid = true;
    plan->leaks.clusters = clusters;
    plan->leaks.bytes = clusters * plan->in.img->geom.cluster_size;
}

static int refuse(const struct qb_plan *plan, struct qb_err *err)
{
    return qb_fail(err, QB_E_LEAKS, QB_NOWHERE,
                   "the image has %" PRIu64 " leaked clusters (%" PRIu64 " bytes)",
                   plan->leaks.clusters, plan->leaks.bytes);
}

/* The refcounts on disk become the counts to start from. */
static int keep(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_census *c = &plan->census;

    if (qb_counts_add_counts(&c->counts, &c->surplus, err) < 0)
        return -1;
    plan->kept.counts = c->surplus;
    c->surplus = (struct qb_counts){0};
    for (size_t i = 0; i < c->reftable_n; i++)
        c->block_differs[i] &= (uint8_t)~QB_BLOCK_LEAKS;
    c->copied_wrong = false; /* the flags fit the refcounts on disk, or the census was refused */
    if (plan->target.new_width && plan->target.header.refcount_order == 0)
        plan->new_tables.recheck_copied = true; /* a kept 2 becomes a 1 */
    return 0;
}

static int add_punch(struct qb_plan *plan, uint64_t cluster, struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size;
    struct qb_range *last =
        plan->freed.punches.n ? &plan->freed.punches.items[plan->freed.punches.n - 1] : NULL;
    struct qb_range r = {cluster * cs, (cluster + 1) * cs};

    if (last && last->end == r.first)
        last->end = r.end;
    else if (plan->freed.punches.n >= FREED_RANGES)
        plan->freed.n_unlisted++;
    else if (qb_counts_push(&plan->census.counts, &plan->freed.punches, err, r) < 0)
        return -1;
    return 0;
}

/* What nothing refers to is discarded once the amended image is durable. */
static int free_all(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_census *c = &plan->census;
    struct qb_count_page *const *pages = qb_counts_pages(&c->surplus);

    for (size_t k = 0; k < c->surplus.n_pages; k++) {
        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
            uint64_t cluster = pages[k]->number * QB_PAGE_COUNTS + i;

            if (qb_page_count(pages[k], i) && qb_counts_get(&c->counts, cluster) == 0 &&
                add_punch(plan, cluster, err) < 0)
                return -1;
        }
    }
    qb_counts_free(&c->surplus);
    return 0;
}

int qb_leaks_plan(struct qb_plan *plan, struct qb_err *err)
{
    if (plan->target.repair) /* its refcounts mean nothing */
        return plan->in.rq->keep_undo ? 0 : free_all(plan, err);
    note(plan, plan->census.n_leaks);
    if (plan->leaks.clusters == 0)
        return 0;
    switch (plan->in.rq->on_leaks) {
    case QB_LEAKS_FAIL:
        return refuse(plan, err);
    case QB_LEAKS_FREE:
        if (plan->in.rq->keep_undo) /* the undo of an earlier run may need them */
            break;
        plan->leaks.freed = true;
        return free_all(plan, err);
    case QB_LEAKS_KEEP:
        break;
    }
    return keep(plan, err);
}

int qb_leaks_clip(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    struct qb_count_page *const *pages = qb_counts_pages(&plan->kept.counts);
    uint64_t max = qb_refcount_max(plan->target.header.refcount_order), left = 0;

    for (size_t k = 0; k < plan->kept.counts.n_pages; k++) {
        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
            uint64_t cluster = pages[k]->number * QB_PAGE_COUNTS + i, over = 0, count;
            uint64_t kept = qb_page_count(pages[k], i), rest;

            if (kept == 0)
                continue;
            count = qb_counts_get(counts, cluster);
            if (count > max && !plan->in.rq->keep_undo)
                over = QB_MIN(count - max, kept);
            if (over && (qb_counts_sub(counts, cluster, over, &rest, err) < 0 ||
                         qb_counts_sub(&plan->kept.counts, cluster, over, &rest, err) < 0))
                return -1;
            left += kept > over;
        }
    }
    if (plan->leaks.valid && !plan->leaks.freed && !plan->in.rq->keep_undo)
        note(plan, left);
    plan->kept.n = left;
    return 0;
}

bool qb_leaks_single(struct qb_plan *plan, uint64_t cluster)
{
    uint64_t max = qb_refcount_max(plan->target.header.refcount_order);

    return QB_MIN(qb_counts_get(&plan->census.counts, cluster), max) == 1;
}
