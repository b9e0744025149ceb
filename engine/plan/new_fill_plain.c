/* Fills a new L2 table entry by entry, where all entries of a kind have one fate: that is how it is
 * nearly everywhere, and then no decision is needed for each run, of which a table may have one for
 * every two entries. */
#include "plan/new_tables.h"
#include "plan/release.h"
#include "qcow2/l2_block.h"

struct plain {
    struct qb_plan *plan;
    const struct qb_new_table *t;
    enum qb_fate zeros[2];            /* of plain zero clusters, and of those that have a place */
    uint64_t next;                    /* the entry of the next new cluster, ... */
    uint64_t left, cluster;           /* ... how many follow it in the file, and its number */
    const struct qb_count_page *page; /* of the cluster that was looked up last, or NULL */
    uint64_t page_number;
};

/* Whether all entries of this kind, if the table had no others, would have one fate. */
static bool decide(const struct plain *f, enum qb_kind kind, enum qb_fate *fate)
{
    uint64_t n = f->plan->in.img->geom.l2_entries;
    struct qb_entries e = {.n = n, .kind = kind};

    qb_new_decide(f->plan, f->t, &e);
    *fate = e.fate;
    return e.n == n &&
           (e.fate == QB_FATE_KEEP || e.fate == QB_FATE_UNALLOCATE || e.fate == QB_FATE_NEW_ZEROS);
}

static bool is_for(const struct plain *f, const struct qb_new_parts *parts)
{
    const struct qb_plan *plan = f->plan;
    const struct qb_geom *g = &plan->in.img->geom;

    return g->l2_entry_size == 8 && !qb_plan_converts(plan) && !g->external_data &&
           parts->part[0] && parts->n == g->l2_entries && !f->t->all_zeros &&
           !qb_moves_any(&plan->moves) && plan->in.rq->zero_clusters != QB_ZERO_SHARE &&
           plan->target.header.refcount_order > 0; /* with one bit larger counts are 1, too */
}

static bool decide_all(struct plain *f)
{
    enum qb_fate unallocated, data;

    return decide(f, QB_UNALLOCATED, &unallocated) && unallocated != QB_FATE_NEW_ZEROS &&
           decide(f, QB_DATA, &data) && data == QB_FATE_KEEP &&
           decide(f, QB_ZERO_PLAIN, &f->zeros[0]) && decide(f, QB_ZERO_ALLOCATED, &f->zeros[1]);
}

/* qb_new_with_copied, of an active table.  Of a page whose counts are all alike nothing is read. */
static uint64_t with_copied(struct plain *f, uint64_t entry)
{
    uint64_t cluster = (entry & QB_ENTRY_OFFSET) >> f->plan->in.img->geom.cluster_bits;

    if (cluster / QB_PAGE_COUNTS != f->page_number) {
        f->page_number = cluster / QB_PAGE_COUNTS;
        f->page = qb_counts_find(&f->plan->census.counts, cluster);
    }
    if (!f->page || f->page->wide)
        return qb_new_with_copied(f->plan, f->t, entry);
    entry &= ~QB_ENTRY_COPIED;
    return qb_page_count(f->page, cluster % QB_PAGE_COUNTS) == 1 ? entry | QB_ENTRY_COPIED : entry;
}

static uint64_t take_new(struct plain *f)
{
    uint64_t entry;

    if (f->left == 0)
        f->next = qb_new_zeros_at(f->plan, f->cluster, UINT64_MAX, &f->left) |
                  (f->t->active && f->t->refs == 1 ? QB_ENTRY_COPIED : 0);
    entry = f->next;
    f->next += f->plan->geom.cluster_size;
    f->left--;
    f->cluster++;
    return entry;
}

static bool is_plain(uint64_t entry)
{
    return !(entry & ~(QB_ENTRY_COPIED | QB_ENTRY_OFFSET | QB_ENTRY_ZERO)) &&
           (entry & QB_ENTRY_OFFSET || entry <= QB_ENTRY_ZERO);
}

/* Fills the 64 entries from `i` on, of which `entry` is the first, if they name clusters in a row
 * of one page whose counts are all alike: true. */
static bool fill_block(struct plain *f, const uint8_t *source, uint64_t i, uint64_t entry,
                       uint8_t *to)
{
    const struct qb_geom *g = &f->plan->in.img->geom;
    uint64_t cluster = (entry & QB_ENTRY_OFFSET) >> g->cluster_bits;

    if (!f->t->active || entry <= QB_ENTRY_ZERO || entry & QB_ENTRY_ZERO || !is_plain(entry) ||
        cluster % QB_PAGE_COUNTS > QB_PAGE_COUNTS - QB_L2_BLOCK ||
        !qb_l2_block_is_run(source + 8 * i, entry, g->cluster_bits))
        return false;
    entry = with_copied(f, entry);
    if (!f->page || f->page->cells)
        return false;
    qb_l2_put_data(g, to, i, QB_L2_BLOCK, entry);
    return true;
}

bool qb_new_fill_plain(struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                       const struct qb_new_parts *parts, uint64_t *n_new)
{
    const struct qb_geom *g = &plan->in.img->geom;
    struct plain f = {.plan = plan, .t = t, .cluster = t->new_first, .page_number = UINT64_MAX};

    if (!is_for(&f, parts) || !decide_all(&f))
        return false;
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, source, i, 0);

        if (i % QB_L2_BLOCK == 0 && fill_block(&f, source, i, entry, parts->part[0])) {
            i += QB_L2_BLOCK - 1;
            continue;
        }
        if (!is_plain(entry))
            return false;
        if (entry & QB_ENTRY_ZERO) {
            enum qb_fate fate = f.zeros[entry != QB_ENTRY_ZERO];

            if (fate != QB_FATE_KEEP)
                entry = fate == QB_FATE_NEW_ZEROS ? take_new(&f) : 0;
            else if (t->active && entry != QB_ENTRY_ZERO)
                entry = with_copied(&f, entry);
        } else if (t->active && entry) {
            entry = with_copied(&f, entry);
        }
        qb_l2_put(g, parts->part[0], i, entry);
    }
    *n_new = f.cluster - t->new_first;
    return true;
}
