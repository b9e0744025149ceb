/* What becomes of each L1 and L2 entry.
 *
 * Guest content is sacred in the active layer and in every snapshot: an entry that reads zero goes
 * on reading zero, and a preallocated host cluster is never written to, because a snapshot may own
 * it: it loses this reference and is freed when that was the last. */
#include <string.h>

#include "amend/new_tables.h"

bool qb_new_needs_cluster(const struct qb_plan *plan, const struct qb_new_table *out, uint64_t i)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t guest = out->l1_index * g->l1_span + i * g->cluster_size;

    if (guest >= plan->below.size)
        return false;
    /* VM state that only the active layer has is of no use to anyone behind the disk's end. */
    if (out->active && out->refs == 1 && guest >= plan->target.header.size)
        return false;
    return !(out->deferred && out->deferred[i / 8] >> (i % 8) & 1);
}

uint64_t qb_new_take_cluster(const struct qb_plan *plan, struct qb_cursor *c, uint64_t refs)
{
    if (plan->in.rq->zero_clusters != QB_ZERO_SHARE)
        return c->cluster++;
    if (c->used && c->used + refs > plan->zeros.share_cap) {
        c->cluster++;
        c->used = 0;
    }
    c->used += refs;
    return c->cluster;
}

uint64_t qb_new_with_copied(struct qb_plan *plan, const struct qb_new_table *out, uint64_t entry)
{
    uint64_t cluster = (entry & QB_ENTRY_OFFSET) >> plan->in.img->geom.cluster_bits;

    if (!out->active || plan->in.img->geom.external_data)
        return entry;
    entry &= ~QB_ENTRY_COPIED;
    return qb_leaks_single(plan, cluster) ? entry | QB_ENTRY_COPIED : entry;
}

static void put_zeros(const struct qb_geom *g, uint8_t *table, uint64_t i, uint64_t end)
{
    be64 all_zero_subclusters = be64_of(0xffffffff00000000ull);

    for (; i < end; i++) {
        if (g->l2_entry_size == 16)
            memcpy(table + i * 16 + 8, &all_zero_subclusters, 8);
        else
            qb_l2_put(g, table, i, QB_ENTRY_ZERO);
    }
}

void qb_new_base(const struct qb_plan *plan, const struct qb_new_table *out, const uint8_t *source,
                 uint8_t *table)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t kept = out->keep_end * g->l2_entry_size, first = out->l1_index * g->l2_entries;

    memcpy(table, source, kept);
    memset(table + kept, 0, g->cluster_size - kept);
    put_zeros(g, table, 0, out->zero_end);
    for (size_t k = 0; k < out->n_zeros; k++) {
        struct qb_range r = plan->resize.zeros.items[out->zeros + k];

        put_zeros(g, table, QB_MAX(r.first, first) - first,
                  QB_MIN(r.end, first + g->l2_entries) - first);
    }
    if (out->copy_entry != QB_NO_ENTRY)
        qb_l2_put(g, table, out->copy_entry, plan->place.copy_offset);
}

/* Whether all entries of a block from `i` on get a cluster where they are zero clusters. */
static bool block_needs_clusters(const struct qb_plan *plan, const struct qb_new_table *out,
                                 uint64_t i)
{
    return !out->deferred && qb_new_needs_cluster(plan, out, i) &&
           qb_new_needs_cluster(plan, out, i + QB_L2_BLOCK - 1);
}

/* Blocks that are all zero clusters, or hold nothing, as most are: false where this one is not. */
static bool fill_block(const struct qb_plan *plan, const struct qb_new_table *out, uint64_t i,
                       struct qb_cursor *c, uint8_t *table)
{
    const struct qb_geom *g = &plan->in.img->geom;
    int zeros = qb_l2_plain_zeros(g, table, i);
    uint64_t entry;

    if (zeros == 0)
        return true;
    if (zeros != QB_L2_BLOCK || plan->in.rq->zero_clusters == QB_ZERO_SHARE ||
        !block_needs_clusters(plan, out, i))
        return false;
    entry = plan->zeros.base + c->cluster * g->cluster_size;
    if (out->active && out->refs == 1) /* as the clusters themselves are counted */
        entry |= QB_ENTRY_COPIED;
    for (unsigned k = 0; k < QB_L2_BLOCK; k++)
        qb_l2_put(g, table, i + k, entry + k * g->cluster_size);
    c->cluster += QB_L2_BLOCK;
    return true;
}

void qb_new_fill(struct qb_plan *plan, const struct qb_new_table *out, const uint8_t *source,
                 uint8_t *table)
{
    const struct qb_geom *g = &plan->in.img->geom;
    struct qb_cursor c = {out->new_first, out->new_used};

    qb_new_base(plan, out, source, table);
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry;
        enum qb_kind kind;

        if (i % QB_L2_BLOCK == 0 && qb_new_expands(plan) && fill_block(plan, out, i, &c, table)) {
            i += QB_L2_BLOCK - 1;
            continue;
        }
        entry = qb_l2_get(g, table, i, 0);
        kind = qb_l2_kind(g, entry);
        if (qb_new_expands(plan) && (kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED)) {
            entry = 0;
            if (qb_new_needs_cluster(plan, out, i))
                entry =
                    plan->zeros.base + qb_new_take_cluster(plan, &c, out->refs) * g->cluster_size;
            if (entry)
                entry = qb_new_with_copied(plan, out, entry);
            qb_l2_put(g, table, i, entry);
        } else if (kind == QB_DATA || kind == QB_ZERO_ALLOCATED) {
            qb_l2_put(g, table, i, qb_new_with_copied(plan, out, entry));
        }
    }
}

/* ---- L1 entries ------------------------------------------------------------------------------ */

static uint64_t entry_to(const struct qb_new_table *out, bool active)
{
    if (out->empty)
        return 0;
    return out->offset | (active && out->refs == 1 ? QB_ENTRY_COPIED : 0);
}

const struct qb_new_table *qb_new_split(const struct qb_plan *plan, uint32_t l1_index)
{
    size_t lo = 0, hi = plan->new_tables.n_splits;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (plan->new_tables.list.items[mid].l1_index < l1_index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < plan->new_tables.n_splits && plan->new_tables.list.items[lo].l1_index == l1_index
               ? &plan->new_tables.list.items[lo]
               : NULL;
}

uint64_t qb_new_l1_entry(struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old)
{
    const struct qb_new_table *split = layer == 0 ? qb_new_split(plan, index) : NULL;
    const struct qb_l2_table *t;
    size_t i;

    if (split)
        return entry_to(split, true);
    if (layer == 0 && plan->target.resize && index >= plan->resize.l1_keep)
        return 0;
    t = old & QB_ENTRY_OFFSET ? qb_tables_find(&plan->census.tables, old & QB_ENTRY_OFFSET) : NULL;
    if (!t)
        return 0;
    i = (size_t)(t - plan->census.tables.items);
    if (plan->new_tables.of[i])
        return entry_to(&plan->new_tables.list.items[plan->new_tables.of[i] - 1], layer == 0);
    if (layer != 0)
        return old;
    old &= ~QB_ENTRY_COPIED;
    return qb_leaks_single(plan, t->offset >> plan->in.img->geom.cluster_bits)
               ? old | QB_ENTRY_COPIED
               : old;
}
