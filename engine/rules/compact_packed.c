/* Lists the pieces of compressed data that are to move.  Each is what one compressed entry names,
 * in whole sectors; its length is not known any better, so it keeps its place in a sector, and two
 * that share a sector go on sharing it where they stay neighbours. */
#include <stdlib.h>

#include "base/num.h"
#include "rules/compact.h"

/* Its memory is counted with the plan's. */
static int pin(struct qb_plan *plan, struct qb_compressed z, struct qb_err *err)
{
    unsigned bits = plan->in.img->geom.cluster_bits;
    uint64_t held = plan->moves.pinned.memory;

    for (uint64_t k = z.offset >> bits; k <= (z.offset + z.available - 1) >> bits; k++)
        if (qb_counts_add(&plan->moves.pinned, k, 1, 0, err) < 0)
            return -1;
    return qb_counts_hold(&plan->census.counts, plan->moves.pinned.memory - held, err);
}

/* One that does not fit into a single free cluster stays: compressing gained nothing there. */
static bool is_to_move(const struct qb_plan *plan, struct qb_compressed z)
{
    const struct qb_geom *g = &plan->in.img->geom;

    return plan->in.stays == QB_STAYS_NOTHING &&
           (z.offset + z.available - 1) >> g->cluster_bits >= plan->moves.from &&
           z.offset % QB_SECTOR + z.available <= g->cluster_size;
}

static int look_at_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t refs = plan->census.tables.items[v->tables.items[index]].refs;

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        struct qb_compressed z;
        struct qb_moved_piece piece;

        if (qb_l2_kind_at(g, table, i) != QB_COMPRESSED)
            continue;
        z = qb_l2_compressed(g, qb_l2_get(g, table, i, 0));
        piece = (struct qb_moved_piece){
            .offset = z.offset, .refs = refs, .available = (uint32_t)z.available};
        if (pin(plan, z, err) < 0 ||
            (is_to_move(plan, z) &&
             qb_counts_push(&plan->census.counts, &plan->moves.pieces, err, piece) < 0))
            return -1;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct qb_moved_piece *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->available < y->available ? -1 : x->available > y->available;
}

int qb_compact_list_packed(struct qb_visit *v, struct qb_err *err)
{
    struct qb_moves *m = &v->plan->moves;
    size_t n = 0;

    if (!v->plan->census.clusters.compressed)
        return 0;
    if (qb_visit_scan(v, true, look_at_table, err) < 0)
        return -1;
    if (m->pieces.n)
        qsort(m->pieces.items, m->pieces.n, sizeof(m->pieces.items[0]), by_place);
    for (size_t i = 0; i < m->pieces.n; i++) {
        if (n && by_place(&m->pieces.items[n - 1], &m->pieces.items[i]) == 0)
            m->pieces.items[n - 1].refs += m->pieces.items[i].refs;
        else
            m->pieces.items[n++] = m->pieces.items[i];
    }
    m->pieces.n = n;
    return 0;
}
