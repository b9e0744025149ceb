/* Places everything that a plan appends, and counts it, in this order: L2 tables, L1 tables, the
 * snapshot table, what rules append, copied data, refcount blocks, the refcount table, new clusters
 * of zeros.  Past the old image's end that is one stretch. */
#include <string.h>

#include "plan/layout.h"
#include "plan/new_tables.h"
#include "plan/recode.h"
#include "plan/release.h"

static int place_tables(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_step step = {.kind = QB_STEP_TABLE, .what = "L2 table"};

    qb_vec_each (t, &plan->conversion.list) {
        step.index = (size_t)(t - plan->conversion.list.items);
        if (qb_layout_add(l, step, qb_layout_cluster_size(l), t->refs, &t->offset, err) < 0)
            return -1;
    }
    for (size_t i = 0; !qb_plan_converts(plan) && i < plan->new_tables.list.n; i++) {
        struct qb_new_table *t = &plan->new_tables.list.items[i];

        step.index = i;

        if (t->empty)
            continue;
        if (qb_layout_add(l, step, qb_layout_cluster_size(l), t->refs, &t->offset, err) < 0)
            return -1;
    }
    return 0;
}

uint32_t qb_plan_l1_size(const struct qb_plan *plan, unsigned layer)
{
    if (layer == 0)
        return plan->active.size;
    return qb_plan_converts(plan) ? qb_convert_l1_size(plan, layer)
                                  : qb_image_layer(plan->in.img, layer).l1_size;
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

static bool is_to_move(const struct qb_plan *plan, uint64_t offset)
{
    return plan->moves.from && offset >> plan->in.img->geom.cluster_bits >= plan->moves.from;
}

/* Whether the layer's L1 table must be written anew: 1 or 0, -1 when it cannot be read. */
static int l1_changes(struct qb_layout *l, unsigned layer, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_layer lay = qb_image_layer(plan->in.img, layer);
    struct l1_look look = {plan, layer};

    if (qb_plan_converts(plan))
        return lay.l1_size || qb_plan_l1_size(plan, layer);
    if ((layer == 0 && plan->active.moves) || is_to_move(plan, lay.l1_offset))
        return 1;
    for (size_t i = 0; layer == 0 && i < plan->new_tables.n_splits; i++)
        if (!plan->new_tables.list.items[i].empty)
            return 1;
    return qb_image_scan_entries(&(struct qb_entry_scan){l->io, plan->in.img, lay.l1_offset,
                                                         lay.l1_size, "an L1 table", entry_changes,
                                                         &look},
                                 err);
}

static int place_l1(struct qb_layout *l, unsigned layer, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_layer lay = qb_image_layer(plan->in.img, layer);
    uint32_t entries = qb_plan_l1_size(plan, layer);
    struct qb_step step = {.kind = QB_STEP_L1, .index = layer, .what = "L1 table"};
    int changes = l1_changes(l, layer, err);
    uint64_t offset = 0;

    if (changes <= 0)
        return changes;
    if (qb_plan_release(plan, lay.l1_offset, 8ull * lay.l1_size, 1, err) < 0 ||
        (entries && qb_layout_add(l, step, 8ull * entries, 1, &offset, err) < 0))
        return -1;
    plan->place.l1_moved[layer] = offset;
    if (layer == 0)
        plan->target.header.l1_offset = offset;
    return 0;
}

static bool snapshots_change(const struct qb_plan *plan)
{
    bool fill = plan->target.header.version == 3; /* version 3 requires a disk size in each entry */

    if (is_to_move(plan, plan->in.img->header.snapshots_offset))
        return true;
    for (size_t i = 0; i < plan->in.img->snapshots.list.n; i++)
        if (!qb_target_keeps(&plan->target, i) || plan->place.l1_moved[i + 1] ||
            (fill && !plan->in.img->snapshots.list.items[i].has_disk_size))
            return true;
    return false;
}

static int place_snapshots(struct qb_layout *l, struct qb_err *err)
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

        if (!qb_target_keeps(&plan->target, i))
            continue;
        if (plan->place.l1_moved[i + 1])
            s.l1_offset = plan->place.l1_moved[i + 1];
        s.l1_size = qb_plan_l1_size(plan, (unsigned)i + 1);
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
    if (step.bytes_len == 0) {
        plan->target.header.snapshots_offset = 0;
        free(step.bytes);
        return 0;
    }
    return qb_layout_add(l, step, step.bytes_len, 1, &plan->target.header.snapshots_offset, err);
}

static int place_contents(struct qb_layout *l, struct qb_err *err)
{
    qb_vec_each (c, &l->plan->contents) {
        struct qb_step step = {.kind = c->bytes ? QB_STEP_BYTES : QB_STEP_FILLED,
                               .index = c->bytes ? 0 : (size_t)(c - l->plan->contents.items),
                               .what = c->what,
                               .bytes_len = c->bytes ? c->len : 0};

        step.bytes = qb_take(&c->bytes);

        if (qb_layout_add(l, step, c->len, 1, &c->offset, err) < 0)
            return -1;
    }
    return 0;
}

/* The offset in a compressed entry has fewer bits than in others. */
static int check_reach(const struct qb_layout *l, struct qb_err *err)
{
    unsigned bits = 70 - l->plan->geom.cluster_bits;

    if (l->at >> bits == 0)
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "a compressed cluster would lie past byte 2^%u of the file", bits);
}

static int place_packed(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_step step = {.kind = QB_STEP_PACKED, .what = "compressed data of L2 table"};

    for (size_t i = 0; i < plan->new_tables.list.n; i++) {
        struct qb_new_table *t = &plan->new_tables.list.items[i];

        if (t->repacked.n == 0)
            continue;
        step.index = i;
        if (qb_layout_place(l, step, qb_packing_len(plan, t), &t->packed_at, err) < 0 ||
            qb_packing_count(l, t, err) < 0 || check_reach(l, err) < 0)
            return -1;
    }
    return 0;
}

static int place_copies(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_step step = {.kind = QB_STEP_COPIES, .what = "copied data of L2 table"};

    for (size_t i = 0; i < plan->new_tables.list.n; i++) {
        struct qb_new_table *t = &plan->new_tables.list.items[i];

        if (t->n_copied == 0)
            continue;
        step.index = i;
        if (qb_layout_add(l, step, t->n_copied * qb_layout_cluster_size(l), t->refs, &t->copies_at,
                          err) < 0)
            return -1;
    }
    return 0;
}

/* The references of clusters that move, from number `index` on, are those of their new places. */
static int move_counts(struct qb_layout *l, const struct qb_moved_extent *e, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t cs = qb_layout_cluster_size(l);

    for (uint64_t i = 0; i < e->n; i++) {
        uint64_t old = qb_moves_from(&plan->moves, e->index + i);
        uint64_t refs = qb_counts_get(&plan->census.counts, old);

        if ((i % 1024 == 0 && qb_io_go_on(l->io, err) < 0) ||
            qb_layout_count(l, e->to + i, 1, refs, err) < 0 ||
            qb_plan_release(plan, old * cs, cs, refs, err) < 0)
            return -1;
    }
    return 0;
}

static int place_moves(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_step step = {.kind = QB_STEP_MOVED, .what = "moved data"};
    uint64_t cs = qb_layout_cluster_size(l);

    for (uint64_t at = 0, n; at < plan->moves.n; at += n) {
        struct qb_moved_extent e = {.index = at};

        if (qb_layout_take_some(l, plan->moves.n - at, &e.to, &n, err) < 0)
            return -1;
        e.n = n;
        step.index = plan->moves.extents.n;
        step.offset = e.to * cs;
        step.len = n * cs;
        plan->place.n_bytes += step.len;
        if (qb_counts_push(&plan->census.counts, &plan->moves.extents, err, e) < 0 ||
            qb_counts_push(&plan->census.counts, &plan->place.steps, err, step) < 0 ||
            move_counts(l, &e, err) < 0)
            return -1;
    }
    return 0;
}

static bool nothing_to_place(const struct qb_layout *l)
{
    const struct qb_plan *plan = l->plan;

    if (plan->place.n_bytes || plan->zeros.n || l->new_width)
        return false;
    for (size_t i = 0; i < plan->blocks.n; i++)
        if (plan->blocks.touched[i])
            return false;
    for (size_t i = 0; i < plan->census.reftable_n; i++)
        if (plan->census.block_differs[i])
            return false;
    return plan->census.n_low == 0 && plan->census.n_bad_blocks == 0;
}

static int place_all(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;

    if (place_tables(l, err) < 0)
        return -1;
    for (unsigned i = 0; i < qb_image_layers(plan->in.img); i++)
        if ((i == 0 || qb_target_keeps(&plan->target, i - 1)) && place_l1(l, i, err) < 0)
            return -1;
    if (place_snapshots(l, err) < 0 || place_contents(l, err) < 0 || place_packed(l, err) < 0 ||
        place_copies(l, err) < 0 || place_moves(l, err) < 0 || qb_layout_place_pieces(l, err) < 0)
        return -1;
    plan->rewrites = !nothing_to_place(l);
    if (!plan->rewrites)
        return 0;
    if (qb_layout_find_blocks(l, err) < 0 || qb_layout_place_blocks(l, err) < 0)
        return -1;
    plan->place.zero_base = l->at;
    if (qb_layout_add_zeros(l, err) < 0 || qb_layout_note_places(l, err) < 0)
        return -1;
    plan->image_end = l->room.takes.n
                          ? qb_counts_end(&plan->census.counts) * qb_layout_cluster_size(l)
                          : plan->place.end;
    plan->moves.gains = plan->image_end < plan->census.end;
    return qb_kept_clip(plan, err) < 0 ? -1 : qb_layout_check_width(l, err);
}

int qb_layout_make(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_layout l = {.io = plan->in.io,
                          .plan = plan,
                          .new_width = plan->in.img->raw ||
                                       qb_target_new_width(plan->in.img, &plan->target)};

    int r;

    plan->place.base = plan->census.end; /* of whole clusters */
    l.at = plan->place.zero_base = plan->place.end = plan->place.base;
    l.base_cluster = plan->place.base / plan->in.img->geom.cluster_size;
    l.block_entries =
        qb_geom_block_entries(&plan->in.img->geom, plan->target.header.refcount_order);
    if (qb_counts_hold(&plan->census.counts,
                       qb_image_layers(plan->in.img) * sizeof(*plan->place.l1_moved), err) < 0)
        return -1;
    plan->place.l1_moved = calloc(qb_image_layers(plan->in.img), sizeof(*plan->place.l1_moved));
    qb_layout_open_room(&l);
    r = plan->place.l1_moved ? place_all(&l, err) : qb_fail_memory(err);
    qb_room_free(&l.room);
    return r;
}
