/* Computes the new L1 entries. */
#include "plan/new_tables.h"
#include "plan/release.h"

static uint64_t entry_to(const struct qb_new_table *t, bool active)
{
    if (t->empty)
        return 0;
    return t->offset | (active && t->refs == 1 ? QB_ENTRY_COPIED : 0);
}

/* The table that is split for the active layer at this L1 index, or NULL. */
static const struct qb_new_table *split_at(const struct qb_plan *plan, uint32_t l1_index)
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

size_t qb_new_table_at(const struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old)
{
    const struct qb_new_table *split = layer == 0 ? split_at(plan, index) : NULL;
    const struct qb_l2_table *t = NULL;

    if (split)
        return (size_t)(split - plan->new_tables.list.items);
    if ((old & QB_ENTRY_OFFSET) && !(layer == 0 && index >= plan->active.keep))
        t = qb_tables_find(&plan->census.tables, old & QB_ENTRY_OFFSET);
    return t && plan->new_tables.of[t - plan->census.tables.items]
               ? plan->new_tables.of[t - plan->census.tables.items] - 1
               : QB_NO_TABLE;
}

uint64_t qb_new_l1_entry(struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old)
{
    const struct qb_new_table *split = layer == 0 ? split_at(plan, index) : NULL;
    const struct qb_l2_table *t;
    size_t i;

    if (split)
        return entry_to(split, true);
    if (layer == 0 && index >= plan->active.keep)
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
    return qb_count_is_single(plan, t->offset >> plan->in.img->geom.cluster_bits)
               ? old | QB_ENTRY_COPIED
               : old;
}
