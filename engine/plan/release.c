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

/* Everything that the old header needs stays counted: references are added, never dropped. */
static int keep(struct qb_plan *plan, uint64_t first, uint64_t end, uint64_t n, struct qb_err *err)
{
    for (uint64_t c = first; c < end; c++)
        if (((c - first) % 1024 == 1023 && qb_io_go_on(plan->in.io, err) < 0) ||
            keep_cluster(plan, c, n, err) < 0)
            return -1;
    return 0;
}

static int note_free(struct qb_plan *plan, uint64_t first, uint64_t end, struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size;
    struct qb_range r = {first * cs, end * cs};
    struct qb_range *last =
        plan->freed.punches.n ? &plan->freed.punches.items[plan->freed.punches.n - 1] : NULL;

    if (last && last->end == r.first)
        last->end = r.end;
    else if (qb_counts_push(&plan->census.counts, &plan->freed.punches, err, r) < 0)
        return -1;
    return 0;
}

/* Of the clusters [first, end), some have no reference left. */
static int note_some_free(struct qb_plan *plan, uint64_t first, uint64_t end, struct qb_err *err)
{
    for (uint64_t c = first; c < end; c++)
        if (qb_counts_get(&plan->census.counts, c) == 0 && note_free(plan, c, c + 1, err) < 0)
            return -1;
    return 0;
}

/* Clusters of one page of the counts. */
static int drop(struct qb_plan *plan, uint64_t first, uint64_t most, uint64_t n, uint64_t *dropped,
                struct qb_err *err)
{
    uint64_t entries =
        qb_geom_block_entries(&plan->in.img->geom, plan->target.header.refcount_order);
    struct qb_counts_left left;
    uint64_t end;
    int r = 0;

    if (qb_counts_sub(&plan->census.counts, first, most, n, &left, err) < 0)
        return -1;
    *dropped = left.n;
    end = first + left.n;
    plan->new_tables.recheck_copied |= left.is_one_of_plain;
    if (left.n_zero == left.n)
        r = note_free(plan, first, end, err);
    else if (left.n_zero)
        r = note_some_free(plan, first, end, err);
    for (uint64_t block = first / entries; r == 0 && block <= (end - 1) / entries; block++)
        r = qb_plan_touch(plan, block, err);
    return r;
}

int qb_plan_release(struct qb_plan *plan, uint64_t offset, uint64_t len, uint64_t n,
                    struct qb_err *err)
{
    unsigned bits = plan->in.img->geom.cluster_bits;
    uint64_t first = offset >> bits, end = len ? ((offset + len - 1) >> bits) + 1 : first, dropped;

    if (plan->in.rq->keep_undo)
        return keep(plan, first, end, n, err);
    for (uint64_t c = first; c < end; c += dropped) {
        if (c > first && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (drop(plan, c, end - c, n, &dropped, err) < 0)
            return -1;
    }
    return 0;
}

int qb_plan_release_entries(struct qb_plan *plan, const uint8_t *table, uint64_t first, uint64_t n,
                            uint64_t refs, struct qb_err *err)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t end = g->external_data ? first : first + n, k;

    for (uint64_t i = first; i < end; i += k) {
        uint64_t entry = qb_l2_get(g, table, i, 0);
        enum qb_kind kind = qb_l2_kind(g, entry);
        int r = 0;

        k = 1;
        if (kind == QB_COMPRESSED) {
            struct qb_compressed z = qb_l2_compressed(g, entry);

            r = qb_plan_release(plan, z.offset, z.available, refs, err);
        } else if (qb_l2_has_host(kind)) {
            while (i + k < end && qb_l2_get(g, table, i + k, 0) == entry + k * g->cluster_size)
                k++;
            r = qb_plan_release(plan, entry & QB_ENTRY_OFFSET, k * g->cluster_size, refs, err);
        }
        if (r < 0)
            return -1;
    }
    return 0;
}
