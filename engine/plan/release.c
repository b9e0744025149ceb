/* Drops references: updates the counts, the refcount blocks that change with them, and the clusters
 * that can be freed.  With keep_undo the clusters stay counted, and are only noted. */
#include <string.h>

#include "plan/release.h"

int qb_plan_touch(struct qb_plan *plan, uint64_t index, struct qb_err *err)
{
    if (index >= QB_MAX_REFTABLE_BYTES / 8)
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "the refcount table would be larger than 8 MiB: too many clusters for refcounts "
            "of %u bits",
            1u << plan->target.header.refcount_order);
    if (index >= plan->blocks.n) {
        size_t want = QB_MAX(index + 1, plan->blocks.n * 2);
        uint8_t *grown;

        if (qb_counts_hold(&plan->census.counts, want - plan->blocks.n, err) < 0)
            return -1;
        grown = realloc(plan->blocks.touched, want);
        if (!grown)
            return qb_fail_memory(err);
        memset(grown + plan->blocks.n, 0, want - plan->blocks.n);
        plan->blocks.touched = grown;
        plan->blocks.n = want;
    }
    if (!plan->blocks.touched[index] &&
        qb_counts_push(&plan->census.counts, &plan->blocks.list, err, (uint32_t)index) < 0)
        return -1;
    plan->blocks.touched[index] |= QB_BLOCK_TOUCHED;
    return 0;
}

/* The memory for these counts is charged to the plan's single limit. */
static int keep_cluster(struct qb_plan *plan, uint64_t cluster, uint64_t n, struct qb_err *err)
{
    uint64_t held = plan->kept.counts.memory;

    if (qb_counts_add(&plan->kept.counts, cluster, n, 0, err) < 0)
        return -1;
    return qb_counts_hold(&plan->census.counts, plan->kept.counts.memory - held, err);
}

static int release_cluster(struct qb_plan *plan, uint64_t cluster, uint64_t n, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    uint64_t cs = plan->in.img->geom.cluster_size;
    uint64_t entries =
        qb_geom_block_entries(&plan->in.img->geom, plan->target.header.refcount_order);
    uint64_t left;
    struct qb_range r = {cluster * cs, (cluster + 1) * cs};
    struct qb_range *last =
        plan->freed.punches.n ? &plan->freed.punches.items[plan->freed.punches.n - 1] : NULL;

    /* Everything that the old header needs stays counted: references are added, never dropped. */
    if (plan->in.rq->keep_undo)
        return keep_cluster(plan, cluster, n, err);
    if (qb_counts_sub(counts, cluster, n, &left, err) < 0)
        return -1;
    if (left == 1 && (qb_counts_marks(counts, cluster) & QB_MARK_PLAIN))
        plan->new_tables.recheck_copied = true;
    if (left == 0 && last && last->end == r.first)
        last->end = r.end;
    else if (left == 0 && qb_counts_push(counts, &plan->freed.punches, err, r) < 0)
        return -1;
    return qb_plan_touch(plan, cluster / entries, err);
}

int qb_plan_release(struct qb_plan *plan, uint64_t offset, uint64_t len, uint64_t n,
                    struct qb_err *err)
{
    unsigned bits = plan->in.img->geom.cluster_bits;
    uint64_t first = offset >> bits;

    for (uint64_t c = first; len && c <= (offset + len - 1) >> bits; c++) {
        if ((c - first) % 1024 == 1023 && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (release_cluster(plan, c, n, err) < 0)
            return -1;
    }
    return 0;
}

int qb_plan_release_entry(struct qb_plan *plan, uint64_t entry, uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &plan->in.img->geom;
    enum qb_kind kind = qb_l2_kind(g, entry);

    if (g->external_data || kind == QB_UNALLOCATED || kind == QB_ZERO_PLAIN)
        return 0;
    if (kind == QB_COMPRESSED) {
        struct qb_compressed z = qb_l2_compressed(g, entry);

        return qb_plan_release(plan, z.offset, z.available, n, err);
    }
    return qb_plan_release(plan, entry & QB_ENTRY_OFFSET, g->cluster_size, n, err);
}
