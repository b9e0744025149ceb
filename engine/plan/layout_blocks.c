/* Computes the refcount blocks and the refcount table that describe the amended image.
 *
 * Blocks that change are rewritten, which frees their old clusters, which changes the blocks that
 * describe those: the set grows until it is closed. */
#include "plan/layout.h"
#include "plan/release.h"

enum { PLAIN_ROUNDS = 8 }; /* images written by QEMU settle in fewer */

static uint64_t old_block(const struct qb_layout *l, uint64_t index)
{
    const struct qb_census *c = &l->plan->census;

    return index < c->reftable_n ? c->reftable[index] & QB_REFTABLE_OFFSET : 0;
}

/* Releases an old block's cluster.  Called once for each block. */
static int free_block(struct qb_layout *l, uint64_t index, struct qb_err *err)
{
    uint64_t offset = old_block(l, index);

    if (!offset)
        return 0;
    return qb_plan_release(l->plan, offset, qb_layout_cluster_size(l), 1, err);
}

/* Releases old blocks whose counts change.  That touches further blocks, which are appended to the
 * list: each is visited once. */
static int cascade(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;

    for (; l->n_settled < plan->blocks.list.n; l->n_settled++)
        if ((l->n_settled % 64 == 0 && qb_io_go_on(l->io, err) < 0) ||
            free_block(l, plan->blocks.list.items[l->n_settled], err) < 0)
            return -1;
    return 0;
}

/* Whether a touched block describes anything, as far as the last round had everything placed. */
static bool block_in_use(struct qb_layout *l, uint64_t index)
{
    uint64_t first = index * l->block_entries, end = first + l->block_entries;

    return (l->plan->blocks.touched[index] & QB_BLOCK_TAKEN) ||
           qb_ranges_touch(first, end, l->base_cluster, l->end_cluster) ||
           qb_counts_any(&l->plan->census.counts, first, QB_MIN(end, l->base_cluster));
}

/* One round: which blocks does all that is to be placed touch, and how much does that make it?
 * *stable is set when nothing moved.  Refcount blocks can be laid out so that each round adds a few
 * more; so after some rounds space is left for an eighth more, and any set that fits is stable. */
static int settle_round(struct qb_layout *l, bool *stable, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t blocks = 0, last = 0, clusters;

    if (qb_layout_try(l, err) < 0 || (!l->new_width && cascade(l, err) < 0))
        return -1;
    for (uint64_t i = 0; i < QB_MAX(plan->blocks.n, plan->census.reftable_n); i++) {
        bool touched = i < plan->blocks.n && plan->blocks.touched[i];

        if (touched && qb_io_go_on(l->io, err) < 0)
            return -1;
        if (touched ? block_in_use(l, i) : !l->new_width && old_block(l, i)) {
            blocks += touched;
            last = i;
        }
    }
    clusters = qb_geom_clusters(&plan->in.img->geom, 8 * (last + 1));
    *stable = blocks == l->n_blocks && clusters == l->reftable_clusters;
    if (l->round >= PLAIN_ROUNDS) {
        *stable = blocks <= l->n_blocks && clusters <= l->reftable_clusters;
        blocks = *stable ? l->n_blocks : QB_MAX(blocks + blocks / 8, l->n_blocks);
        clusters = QB_MAX(clusters, l->reftable_clusters);
    }
    l->n_blocks = blocks;
    l->reftable_clusters = clusters;
    if (clusters * qb_layout_cluster_size(l) > QB_MAX_REFTABLE_BYTES)
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "the refcount table would be larger than 8 MiB: too many clusters for refcounts "
            "of %u bits",
            1u << plan->target.header.refcount_order);
    return 0;
}

/* Touches the blocks that describe clusters in use, or only those of them that the image lacks.
 * Walks from page to page of the counts, so that the cost does not depend on how far out a cluster
 * lies.  What the plan appends is touched in settle_round. */
static int touch_counted(struct qb_layout *l, bool only_missing, struct qb_err *err)
{
    struct qb_counts *counts = &l->plan->census.counts;
    uint64_t at = qb_counts_next(counts, 0), end;

    for (; at != UINT64_MAX; at = qb_counts_next(counts, end)) {
        uint64_t i = at / l->block_entries;

        end = (i + 1) * l->block_entries;
        if (qb_io_go_on(l->io, err) < 0)
            return -1;
        if (!(only_missing && old_block(l, i)) && qb_counts_any(counts, at, end) &&
            qb_plan_touch(l->plan, i, err) < 0)
            return -1;
    }
    return 0;
}

/* A change of width rewrites every block, so all that count something are touched. */
static int touch_all(struct qb_layout *l, struct qb_err *err)
{
    for (uint64_t i = 0; i < l->plan->census.reftable_n; i++)
        if (free_block(l, i, err) < 0)
            return -1;
    return touch_counted(l, false, err);
}

static int touch_differing(struct qb_layout *l, struct qb_err *err)
{
    for (uint64_t i = 0; i < l->plan->census.reftable_n; i++)
        if (l->plan->census.block_differs[i] && qb_plan_touch(l->plan, i, err) < 0)
            return -1;
    return 0;
}

/* A few entries spread over a huge sparse file would take terabytes of refcount blocks.  No image
 * that a guest has used comes near this limit. */
static int check_proportion(const struct qb_layout *l, struct qb_err *err)
{
    uint64_t held = qb_file_allocated(l->plan->in.img->file),
             need = l->n_blocks * qb_layout_cluster_size(l);

    if (need / 16 > held + (4u << 20))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the refcount blocks would take %llu bytes, and the whole image holds %llu",
                       (unsigned long long)need, (unsigned long long)held);
    return 0;
}

int qb_layout_find_blocks(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    const struct qb_header *h = &plan->in.img->header;
    bool stable = false;

    if (qb_plan_release(plan, h->reftable_offset, h->reftable_clusters * qb_layout_cluster_size(l),
                        1, err) < 0)
        return -1;
    if (l->new_width ? touch_all(l, err) < 0 : touch_differing(l, err) < 0)
        return -1;
    /* Clusters in use that no block of the image describes: only in a repair. */
    if ((plan->target.rebuild_counts || plan->target.raise_counts) && !l->new_width &&
        touch_counted(l, true, err) < 0)
        return -1;
    for (l->round = 0; !stable; l->round++)
        if (settle_round(l, &stable, err) < 0)
            return -1;
    return check_proportion(l, err);
}

int qb_layout_place_blocks(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t cs = qb_layout_cluster_size(l), placed = 0;
    struct qb_step table = {.kind = QB_STEP_REFTABLE, .what = "refcount table"};

    plan->place.reftable_n = QB_MAX(plan->blocks.n, plan->census.reftable_n);
    plan->place.reftable_n = QB_MIN(plan->place.reftable_n, l->reftable_clusters * cs / 8);
    if (qb_counts_hold(&plan->census.counts, (plan->place.reftable_n + 1) * 8, err) < 0)
        return -1;
    plan->place.reftable = calloc(plan->place.reftable_n + 1, sizeof(*plan->place.reftable));
    if (!plan->place.reftable)
        return qb_fail_memory(err);
    for (uint64_t i = 0; i < plan->place.reftable_n; i++) {
        struct qb_step step = {.kind = QB_STEP_BLOCK, .index = i, .what = "refcount block"};
        bool touched = i < plan->blocks.n && plan->blocks.touched[i];

        if (touched && qb_io_go_on(l->io, err) < 0)
            return -1;
        if (!touched) {
            plan->place.reftable[i] = l->new_width ? 0 : old_block(l, i);
        } else if (block_in_use(l, i)) {
            placed++;
            if (qb_layout_add(l, step, cs, 1, &plan->place.reftable[i], err) < 0)
                return -1;
        }
    }
    /* With room, what follows must lie where the last round had it. */
    if (l->room.end && qb_layout_skip(l, l->n_blocks - placed, err) < 0)
        return -1;
    plan->target.header.reftable_clusters = (uint32_t)l->reftable_clusters;
    return qb_layout_add(l, table, l->reftable_clusters * cs, 1,
                         &plan->target.header.reftable_offset, err);
}

int qb_layout_check_width(const struct qb_layout *l, struct qb_err *err)
{
    uint64_t cluster = 0, max = qb_counts_max(&l->plan->census.counts, &cluster);
    unsigned order = l->plan->target.header.refcount_order;

    if (max > qb_refcount_max(order))
        return qb_fail(err, QB_E_REFUSED, cluster * qb_layout_cluster_size(l),
                       "a cluster is referenced %llu times, too often for refcounts of %u bits",
                       (unsigned long long)max, 1u << order);
    return 0;
}
