/* size: entries past the new end go, the last cluster is copied with zeros past the end, and where
 * a longer backing file would show, there are zero clusters. */
#include "amend/new_tables.h"
#include "amend/rule.h"

/* A last cluster that must be copied. */
static bool copy(const struct qb_resize *r, uint64_t guest, struct qb_entries *e)
{
    if (!r->copies || r->copy_cluster < guest || r->copy_cluster >= guest + e->n)
        return false;
    if (r->copy_cluster > guest) {
        e->n = r->copy_cluster - guest; /* up to there, first */
        return false;
    }
    e->n = 1;
    e->fate = QB_FATE_APPENDED;
    e->source = r->copy_source;
    return true;
}

static void entries(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    const struct qb_resize *r = &plan->resize;
    uint64_t l2_entries = plan->in.img->geom.l2_entries;
    uint64_t guest = t->l1_index * l2_entries + e->first;
    uint64_t cut = t->l1_index == r->cut_l1 && r->cut_entry ? r->cut_entry : l2_entries;
    size_t z = qb_resize_zeros_from(r, guest);

    if (!t->split || copy(r, guest, e))
        return;
    if (z < r->zeros.n && r->zeros.items[z].first <= guest) {
        e->n = QB_MIN(e->n, r->zeros.items[z].end - guest);
        e->fate = QB_FATE_ZERO;
        return;
    }
    if (z < r->zeros.n)
        e->n = QB_MIN(e->n, r->zeros.items[z].first - guest);
    if (e->first < cut)
        e->n = QB_MIN(e->n, cut - e->first);
    else
        e->fate = QB_FATE_UNALLOCATE;
}

const struct qb_rule qb_rule_size = {
    .name = "size",
    .entries = entries,
};
