/* Gives what is appended its clusters: past the old image's end, or first in the room inside it, if
 * the plan may use that (qb_plan_uses_room). */
#include <string.h>

#include "plan/layout.h"
#include "plan/release.h"

void qb_layout_open_room(struct qb_layout *l)
{
    struct qb_plan *plan = l->plan;
    uint64_t whole = plan->in.img->file->size / qb_layout_cluster_size(l);

    l->room = (struct qb_room){.io = l->io, .counts = &plan->census.counts};
    l->room.max_extents = plan->in.rq->keep_undo ? QB_PROOF_RANGES / 2 : SIZE_MAX;
    if (qb_plan_uses_room(plan))
        l->room.end = QB_MIN(whole, l->base_cluster);
}

/* The blocks that describe clusters inside the old image which come into use. */
static int touch(struct qb_layout *l, uint64_t first, uint64_t n, struct qb_err *err)
{
    for (uint64_t i = first / l->block_entries; i * l->block_entries < first + n; i++) {
        if (qb_plan_touch(l->plan, i, err) < 0)
            return -1;
        l->plan->blocks.touched[i] |= QB_BLOCK_TAKEN;
    }
    return 0;
}

/* n clusters in a row.  Those past the old end are touched all together, in each round. */
static int take(struct qb_layout *l, uint64_t n, uint64_t *first, struct qb_err *err)
{
    int r = qb_room_take(&l->room, n, first, err);

    if (r != 0)
        return r < 0 ? -1 : touch(l, *first, n, err);
    *first = l->at / qb_layout_cluster_size(l);
    l->at += n * qb_layout_cluster_size(l);
    return 0;
}

int qb_layout_take_some(struct qb_layout *l, uint64_t want, uint64_t *first, uint64_t *n,
                        struct qb_err *err)
{
    int r = qb_room_take_some(&l->room, want, first, n, err);

    if (r != 0)
        return r < 0 ? -1 : touch(l, *first, *n, err);
    *n = want;
    return take(l, want, first, err);
}

int qb_layout_count(struct qb_layout *l, uint64_t first, uint64_t n, uint64_t refs,
                    struct qb_err *err)
{
    struct qb_counts *counts = &l->plan->census.counts;

    return first < l->base_cluster ? qb_counts_add_data(counts, first, n, refs, 0, err)
                                   : qb_counts_append(counts, first, n, refs, err);
}

int qb_layout_place(struct qb_layout *l, struct qb_step step, uint64_t len, uint64_t *offset,
                    struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t cs = qb_layout_cluster_size(l), first = 0;

    step.len = qb_round_up(len, cs);
    if (take(l, step.len / cs, &first, err) < 0) {
        free(step.bytes);
        return -1;
    }
    *offset = step.offset = first * cs;
    if (qb_counts_hold(&plan->census.counts, step.bytes_len, err) < 0 ||
        qb_counts_push(&plan->census.counts, &plan->place.steps, err, step) < 0) {
        free(step.bytes);
        return -1;
    }
    plan->place.n_bytes += step.len;
    return 0;
}

int qb_layout_add(struct qb_layout *l, struct qb_step step, uint64_t len, uint64_t refs,
                  uint64_t *offset, struct qb_err *err)
{
    uint64_t cs = qb_layout_cluster_size(l);

    return qb_layout_place(l, step, len, offset, err) < 0
               ? -1
               : qb_layout_count(l, *offset / cs, qb_div_up(len, cs), refs, err);
}

int qb_layout_skip(struct qb_layout *l, uint64_t n, struct qb_err *err)
{
    uint64_t first;

    for (uint64_t i = 0; i < n; i++)
        if ((i % 64 == 0 && qb_io_go_on(l->io, err) < 0) || take(l, 1, &first, err) < 0)
            return -1;
    return 0;
}

/* Counts n of the new clusters of zeros, from number `index` on: one extent after the other. */
static int count_zeros(struct qb_layout *l, uint64_t index, uint64_t n, uint64_t refs,
                       struct qb_err *err)
{
    uint64_t cs = qb_layout_cluster_size(l), some;

    if (!n)
        return 0;
    for (const struct qb_zeros_extent *e = qb_zeros_extent(&l->plan->zeros, index); n;
         e++, index += some, n -= some) {
        some = QB_MIN(n, e->first + e->n - index);
        if (qb_layout_count(l, e->offset / cs + (index - e->first), some, refs, err) < 0)
            return -1;
    }
    return 0;
}

int qb_layout_add_zeros(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_new_zeros *z = &plan->zeros;
    uint64_t cs = qb_layout_cluster_size(l), first, n;

    for (uint64_t at = 0; at < z->n; at += n) {
        if (qb_io_go_on(l->io, err) < 0 || qb_layout_take_some(l, z->n - at, &first, &n, err) < 0 ||
            qb_counts_push(&plan->census.counts, &z->extents, err,
                           (struct qb_zeros_extent){at, n, first * cs}) < 0)
            return -1;
    }
    for (size_t i = 0; i < z->shared.n; i++)
        if (count_zeros(l, i, 1, z->shared.items[i], err) < 0)
            return -1;
    for (size_t i = 0; z->shared.n == 0 && i < plan->new_tables.list.n; i++) {
        const struct qb_new_table *t = &plan->new_tables.list.items[i];

        if (count_zeros(l, t->new_first, t->n_new, t->refs, err) < 0)
            return -1;
    }
    return 0;
}

static int try_all(struct qb_layout *l, struct qb_err *err)
{
    uint64_t first, n;

    if (qb_layout_skip(l, l->n_blocks, err) < 0 ||
        (l->reftable_clusters && take(l, l->reftable_clusters, &first, err) < 0))
        return -1;
    for (uint64_t at = 0; at < l->plan->zeros.n; at += n)
        if (qb_io_go_on(l->io, err) < 0 ||
            qb_layout_take_some(l, l->plan->zeros.n - at, &first, &n, err) < 0)
            return -1;
    return 0;
}

int qb_layout_try(struct qb_layout *l, struct qb_err *err)
{
    const struct qb_room_mark mark = l->room.at;
    uint64_t at = l->at, cs = qb_layout_cluster_size(l);

    if (!l->room.end) {
        l->end_cluster = l->at / cs + l->n_blocks + l->reftable_clusters + l->plan->zeros.n;
    } else {
        if (try_all(l, err) < 0)
            return -1;
        l->end_cluster = l->at / cs;
        qb_room_put_back(&l->room, &mark);
        l->at = at;
    }
    for (uint64_t i = l->base_cluster / l->block_entries; i * l->block_entries < l->end_cluster;
         i++)
        if (qb_plan_touch(l->plan, i, err) < 0)
            return -1;
    return 0;
}

const struct qb_zeros_extent *qb_zeros_extent(const struct qb_new_zeros *z, uint64_t index)
{
    size_t low = 0, high = z->extents.n - 1;

    while (low < high) {
        size_t mid = low + (high - low + 1) / 2;

        if (z->extents.items[mid].first <= index)
            low = mid;
        else
            high = mid - 1;
    }
    return &z->extents.items[low];
}

int qb_layout_note_places(struct qb_layout *l, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    uint64_t cs = qb_layout_cluster_size(l);
    size_t n = 0;

    plan->place.end = l->at;
    if (!l->room.takes.n)
        return 0;
    qb_vec_each (t, &l->room.takes)
        if (qb_counts_push(&plan->census.counts, &plan->place.room, err,
                           (struct qb_range){t->first * cs, (t->first + t->n) * cs}) < 0)
            return -1;
    qb_ranges_sort(plan->place.room.items, plan->place.room.n);
    for (size_t i = 0; i < plan->place.room.n; i++) {
        struct qb_range r = plan->place.room.items[i];

        if (n && plan->place.room.items[n - 1].end == r.first)
            plan->place.room.items[n - 1].end = r.end;
        else
            plan->place.room.items[n++] = r;
    }
    plan->place.room.n = n;
    return 0;
}
