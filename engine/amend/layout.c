/* Gives everything that a plan appends its place, and computes the refcount blocks and table that
 * describe the final image.
 *
 * The stretch is [L2 tables][L1 tables][snapshot table][copied cluster][refcount blocks][refcount
 * table][zero clusters].  Refcount blocks that change are written anew, which frees their old
 * clusters, which changes the blocks that describe those: the set grows until it stands still. */
#include <string.h>

#include "amend/new_tables.h"
#include "amend/release.h"

struct layout {
    struct qb_io *io;
    struct qb_plan *plan;
    bool new_width;         /* no refcount block stays */
    uint64_t at;            /* next free byte of the stretch */
    uint64_t block_entries; /* in a block of the target's width */
    uint64_t base_cluster;
    uint8_t *freed;   /* old blocks that were given back already */
    size_t n_settled; /* of plan->blocks.list: those whose old blocks were looked at */
    uint64_t n_blocks, reftable_clusters;
    unsigned round;
};

enum { PLAIN_ROUNDS = 8 }; /* any image that QEMU wrote settles in less */

static uint64_t cluster_size(const struct layout *l)
{
    return l->plan->in.img->geom.cluster_size;
}

/* Appends a step of `len` bytes (rounded up to clusters) whose clusters are counted `refs` times.
 */
static int add_step(struct layout *l, struct qb_step step, uint64_t len, uint64_t refs,
                    struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t cs = cluster_size(l);

    step.offset = l->at;
    step.len = qb_round_up(len, cs);
    if (qb_counts_hold(&plan->census.counts, step.bytes_len, err) < 0 ||
        qb_counts_push(&plan->census.counts, &plan->place.steps, err, step) < 0) {
        free(step.bytes);
        return -1;
    }
    l->at += step.len;
    return qb_counts_append(&plan->census.counts, step.offset / cs, step.len / cs, refs, err);
}

static int place_tables(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;

    for (size_t i = 0; i < plan->new_tables.list.n; i++) {
        struct qb_new_table *out = &plan->new_tables.list.items[i];
        struct qb_step step = {.kind = QB_STEP_TABLE, .index = i, .what = "L2 table"};

        if (out->empty)
            continue;
        out->offset = l->at;
        if (add_step(l, step, cluster_size(l), out->refs, err) < 0)
            return -1;
    }
    return 0;
}

struct l1_look {
    struct qb_plan *plan;
    unsigned layer;
};

static int entry_changes(void *arg, uint32_t index, uint64_t old, struct qb_err *err)
{
    struct l1_look *look = arg;

    (void)err;
    return qb_new_l1_entry(look->plan, look->layer, index, old) != old;
}

/* Whether the layer's L1 table must be written anew: 1 or 0, -1 when it cannot be read. */
static int l1_changes(struct layout *l, unsigned layer, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_layer lay = qb_image_layer(plan->in.img, layer);
    struct l1_look look = {plan, layer};

    if (layer == 0 && plan->active.moves)
        return 1;
    for (size_t i = 0; layer == 0 && i < plan->new_tables.n_splits; i++)
        if (!plan->new_tables.list.items[i].empty)
            return 1;
    return qb_image_scan_entries(l->io, plan->in.img, lay.l1_offset, lay.l1_size, "an L1 table",
                                 entry_changes, &look, err);
}

static int place_l1(struct layout *l, unsigned layer, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_layer lay = qb_image_layer(plan->in.img, layer);
    uint32_t entries = layer == 0 ? plan->active.size : lay.l1_size;
    struct qb_step step = {.kind = QB_STEP_L1, .index = layer, .what = "L1 table"};
    int changes = l1_changes(l, layer, err);

    if (changes <= 0)
        return changes;
    if (entries)
        plan->place.l1_moved[layer] = l->at;
    if (qb_plan_release(plan, lay.l1_offset, 8ull * lay.l1_size, 1, err) < 0)
        return -1;
    if (layer == 0)
        plan->target.header.l1_offset = entries ? l->at : 0;
    return entries ? add_step(l, step, 8ull * entries, 1, err) : 0;
}

static bool snapshots_change(const struct qb_plan *plan)
{
    bool fill = plan->target.header.version == 3; /* which wants a disk size with each */

    for (size_t i = 0; i < plan->in.img->snapshots.list.n; i++)
        if (plan->place.l1_moved[i + 1] ||
            (fill && !plan->in.img->snapshots.list.items[i].has_disk_size))
            return true;
    return false;
}

static int place_snapshots(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    const struct qb_snapshot_table *old = &plan->in.img->snapshots;
    struct qb_snapshot_table now = {.bytes = old->bytes, .len = old->len};
    struct qb_step step = {.kind = QB_STEP_BYTES, .what = "snapshot table"};
    int r = 0;

    if (!snapshots_change(plan))
        return 0;
    for (size_t i = 0; r == 0 && i < old->list.n; i++) {
        struct qb_snapshot s = old->list.items[i];

        if (plan->place.l1_moved[i + 1])
            s.l1_offset = plan->place.l1_moved[i + 1];
        r = qb_vec_push(&now.list, s) ? 0 : qb_fail_memory(err);
    }
    if (r == 0)
        r = qb_snapshot_encode(&now, plan->target.header.version == 3, &step.bytes, &step.bytes_len,
                               err);
    qb_vec_free(&now.list);
    if (r < 0 ||
        qb_plan_release(plan, plan->in.img->header.snapshots_offset, old->len, 1, err) < 0) {
        free(step.bytes);
        return -1;
    }
    plan->target.header.snapshots_offset = l->at;
    return add_step(l, step, step.bytes_len, 1, err);
}

static int place_contents(struct layout *l, struct qb_err *err)
{
    qb_vec_each (c, &l->plan->contents) {
        struct qb_step step = {.kind = QB_STEP_BYTES,
                               .what = c->what,
                               .bytes = qb_take(&c->bytes),
                               .bytes_len = c->len};

        c->offset = l->at;
        if (add_step(l, step, c->len, 1, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- refcount blocks
 * -------------------------------------------------------------------------------- */

static uint64_t old_block(const struct layout *l, uint64_t index)
{
    const struct qb_census *c = &l->plan->census;

    return index < c->reftable_n ? c->reftable[index] & QB_REFTABLE_OFFSET : 0;
}

/* Gives an old block's cluster back, once. */
static int free_block(struct layout *l, uint64_t index, struct qb_err *err)
{
    uint64_t offset = old_block(l, index);

    if (!offset || l->freed[index])
        return 0;
    l->freed[index] = 1;
    return qb_plan_release(l->plan, offset, cluster_size(l), 1, err);
}

/* Old blocks whose counts change are given back.  That touches further blocks, which come behind
 * those that are there: each is looked at once. */
static int cascade(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;

    for (; l->n_settled < plan->blocks.list.n; l->n_settled++)
        if ((l->n_settled % 64 == 0 && qb_io_go_on(l->io, err) < 0) ||
            free_block(l, plan->blocks.list.items[l->n_settled], err) < 0)
            return -1;
    return 0;
}

static bool block_in_use(struct layout *l, uint64_t index, uint64_t end_cluster)
{
    uint64_t first = index * l->block_entries, end = first + l->block_entries;

    return qb_ranges_touch(first, end, l->base_cluster, end_cluster) ||
           qb_counts_any(&l->plan->census.counts, first, QB_MIN(end, l->base_cluster));
}

static uint64_t stretch_end(const struct layout *l)
{
    return l->at / cluster_size(l) + l->n_blocks + l->reftable_clusters + l->plan->zeros.n;
}

/* One round: which blocks does a stretch of the present length touch, and how long does that make
 * it?  *stable when nothing moved.  Refcount blocks can be laid out so that each round adds a few
 * more; so after some rounds room is left for an eighth more, and what fits is stable. */
static int settle_round(struct layout *l, bool *stable, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t end = stretch_end(l), blocks = 0, last = 0, clusters;

    for (uint64_t i = l->base_cluster / l->block_entries; i * l->block_entries < end; i++)
        if (qb_plan_touch(plan, i, err) < 0)
            return -1;
    if (!l->new_width && cascade(l, err) < 0)
        return -1;
    for (uint64_t i = 0; i < QB_MAX(plan->blocks.n, plan->census.reftable_n); i++) {
        bool touched = i < plan->blocks.n && plan->blocks.touched[i];

        if (touched && qb_io_go_on(l->io, err) < 0)
            return -1;
        if (touched ? block_in_use(l, i, end) : !l->new_width && old_block(l, i)) {
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
    if (clusters * cluster_size(l) > QB_MAX_REFTABLE_BYTES)
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "the refcount table would be larger than 8 MiB: too many clusters for refcounts "
            "of %u bits",
            1u << plan->target.header.refcount_order);
    return 0;
}

/* Touches the blocks that describe clusters in use, or of these the ones that the image lacks.  It
 * goes from one page of counts to the next: how far out a cluster lies makes no difference.  What
 * the plan appends is touched in settle_round. */
static int touch_counted(struct layout *l, bool only_missing, struct qb_err *err)
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

/* A change of width writes every block anew; so all that count something are touched. */
static int touch_all(struct layout *l, struct qb_err *err)
{
    for (uint64_t i = 0; i < l->plan->census.reftable_n; i++)
        if (free_block(l, i, err) < 0)
            return -1;
    return touch_counted(l, false, err);
}

static int touch_differing(struct layout *l, struct qb_err *err)
{
    for (uint64_t i = 0; i < l->plan->census.reftable_n; i++)
        if (l->plan->census.block_differs[i] && qb_plan_touch(l->plan, i, err) < 0)
            return -1;
    return 0;
}

/* A few entries that are spread over a huge sparse file would have terabytes of refcount blocks
 * written for them.  No image that a guest has used comes near this. */
static int check_proportion(const struct layout *l, struct qb_err *err)
{
    uint64_t held = qb_file_allocated(l->plan->in.img->file), need = l->n_blocks * cluster_size(l);

    if (need / 16 > held + (4u << 20))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the refcount blocks would take %llu bytes, and the whole image holds %llu",
                       (unsigned long long)need, (unsigned long long)held);
    return 0;
}

static int find_blocks(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    const struct qb_header *h = &plan->in.img->header;
    bool stable = false;

    if (qb_counts_hold(&plan->census.counts, plan->census.reftable_n, err) < 0)
        return -1;
    l->freed = calloc(plan->census.reftable_n ? plan->census.reftable_n : 1, 1);
    if (!l->freed)
        return qb_fail_memory(err);
    if (qb_plan_release(plan, h->reftable_offset, h->reftable_clusters * cluster_size(l), 1, err) <
        0)
        return -1;
    if (l->new_width ? touch_all(l, err) < 0 : touch_differing(l, err) < 0)
        return -1;
    /* Clusters in use that no block of the image describes: only in a repair. */
    if (plan->target.rebuild_counts && !l->new_width && touch_counted(l, true, err) < 0)
        return -1;
    for (l->round = 0; !stable; l->round++)
        if (settle_round(l, &stable, err) < 0)
            return -1;
    return check_proportion(l, err);
}

static int place_blocks(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t end = stretch_end(l), cs = cluster_size(l);
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
        } else if (block_in_use(l, i, end)) {
            plan->place.reftable[i] = l->at;
            if (add_step(l, step, cs, 1, err) < 0)
                return -1;
        }
    }
    plan->target.header.reftable_offset = l->at;
    plan->target.header.reftable_clusters = (uint32_t)l->reftable_clusters;
    return add_step(l, table, l->reftable_clusters * cs, 1, err);
}

static int place_zeros(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_counts *counts = &plan->census.counts;
    uint64_t cs = cluster_size(l), first = l->at / cs;

    plan->zeros.base = l->at;
    plan->zeros.len = plan->zeros.n * cs;
    for (size_t i = 0; i < plan->zeros.shared.n; i++)
        if (qb_counts_append(counts, first + i, 1, plan->zeros.shared.items[i], err) < 0)
            return -1;
    for (size_t i = 0; plan->zeros.shared.n == 0 && i < plan->new_tables.list.n; i++) {
        const struct qb_new_table *out = &plan->new_tables.list.items[i];

        if (qb_counts_append(counts, first + out->new_first, out->n_new, out->refs, err) < 0)
            return -1;
    }
    return 0;
}

static int check_width(struct layout *l, struct qb_err *err)
{
    uint64_t cluster = 0, max = qb_counts_max(&l->plan->census.counts, &cluster);
    unsigned order = l->plan->target.header.refcount_order;

    if (max > qb_refcount_max(order))
        return qb_fail(err, QB_E_REFUSED, cluster * cluster_size(l),
                       "a cluster is referenced %llu times, too often for refcounts of %u bits",
                       (unsigned long long)max, 1u << order);
    return 0;
}

static bool nothing_to_place(const struct layout *l)
{
    const struct qb_plan *plan = l->plan;

    if (l->at != plan->place.base || plan->zeros.n || l->new_width)
        return false;
    for (size_t i = 0; i < plan->blocks.n; i++)
        if (plan->blocks.touched[i])
            return false;
    for (size_t i = 0; i < plan->census.reftable_n; i++)
        if (plan->census.block_differs[i])
            return false;
    return plan->census.n_low == 0;
}

static int place_all(struct layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;

    if (place_tables(l, err) < 0)
        return -1;
    for (unsigned i = 0; i < qb_image_layers(plan->in.img); i++)
        if (place_l1(l, i, err) < 0)
            return -1;
    if (place_snapshots(l, err) < 0 || place_contents(l, err) < 0)
        return -1;
    plan->rewrites = !nothing_to_place(l);
    plan->zeros.base = plan->place.base;
    if (!plan->rewrites)
        return 0;
    if (find_blocks(l, err) < 0 || place_blocks(l, err) < 0 || place_zeros(l, err) < 0)
        return -1;
    return qb_kept_clip(plan, err) < 0 ? -1 : check_width(l, err);
}

int qb_layout_make(struct qb_plan *plan, struct qb_err *err)
{
    struct layout l = {.io = plan->in.io,
                       .plan = plan,
                       .new_width = qb_target_new_width(plan->in.img, &plan->target)};
    int r;

    plan->place.base = qb_round_up(plan->census.end, plan->in.img->geom.cluster_size);
    l.at = plan->place.base;
    l.base_cluster = plan->place.base / plan->in.img->geom.cluster_size;
    l.block_entries =
        qb_geom_block_entries(&plan->in.img->geom, plan->target.header.refcount_order);
    if (qb_counts_hold(&plan->census.counts,
                       qb_image_layers(plan->in.img) * sizeof(*plan->place.l1_moved), err) < 0)
        return -1;
    plan->place.l1_moved = calloc(qb_image_layers(plan->in.img), sizeof(*plan->place.l1_moved));
    r = plan->place.l1_moved ? place_all(&l, err) : qb_fail_memory(err);
    free(l.freed);
    return r;
}
