/* Chooses what moves down in the file, so that the image ends as early as it can: what lies past
 * the cluster that compact_from.c finds.  Leaks stay where they are, so the image may end later. */
#include "rules/compact.h"

#include "plan/release.h"
#include "rules/bitmaps.h"

bool qb_compact_works(const struct qb_plan *plan)
{
    const struct qb_request *rq = plan->in.rq;

    return qb_asked(rq, QB_KEY_RECLAIM) && rq->reclaim_compact && plan->in.stays != QB_STAYS_ALL &&
           plan->target.works == UINT32_C(1) << QB_RULE_reclaim && !plan->census.n_low &&
           !plan->census.n_bad_blocks && !plan->target.rebuild_counts &&
           plan->new_tables.list.n == 0;
}

static int add_data(struct qb_plan *plan, const struct qb_count_page *p, uint64_t first,
                    uint64_t end, void *arg, struct qb_err *err)
{
    uint64_t *n = arg;

    (void)plan;
    (void)err;
    for (; first < end; first++)
        *n += qb_page_has_data(p, first % QB_PAGE_COUNTS);
    return 0;
}

static bool may_move(struct qb_plan *plan, const struct qb_count_page *p, uint64_t cluster)
{
    if (plan->moves.bits.n_pages && qb_counts_get(&plan->moves.bits, cluster))
        return !qb_counts_get(&plan->kept.counts, cluster);
    return qb_page_has_data(p, cluster % QB_PAGE_COUNTS) &&
           !qb_counts_get(&plan->moves.pinned, cluster) &&
           !qb_counts_get(&plan->kept.counts, cluster);
}

static int add_cluster(struct qb_plan *plan, uint64_t cluster, struct qb_err *err)
{
    struct qb_moves *m = &plan->moves;
    struct qb_moved_run *last = m->runs.n ? &m->runs.items[m->runs.n - 1] : NULL;

    m->n++;
    if (last && last->end == cluster) {
        last->end++;
        return 0;
    }
    return qb_counts_push(&plan->census.counts, &m->runs, err,
                          (struct qb_moved_run){cluster, cluster + 1, m->n - 1});
}

static int list_clusters(struct qb_plan *plan, const struct qb_count_page *p, uint64_t first,
                         uint64_t end, void *arg, struct qb_err *err)
{
    (void)arg;
    for (; first < end; first++)
        if (may_move(plan, p, first) && add_cluster(plan, first, err) < 0)
            return -1;
    return 0;
}

static bool names_one(const struct qb_plan *plan, const uint8_t *table, uint64_t i)
{
    const struct qb_geom *g = &plan->in.img->geom;
    enum qb_kind kind = qb_l2_kind_at(g, table, i);
    uint64_t entry = qb_l2_get(g, table, i, 0);

    if (kind == QB_COMPRESSED) {
        struct qb_compressed z = qb_l2_compressed(g, entry);

        return qb_moves_piece(&plan->moves, z.offset, z.available);
    }
    return qb_l2_has_host(kind) && !g->external_data &&
           qb_moves_index(&plan->moves, (entry & QB_ENTRY_OFFSET) >> g->cluster_bits) != UINT64_MAX;
}

static int replace_if_it_names_one(void *arg, size_t index, const uint8_t *table,
                                   struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = &plan->in.img->geom;
    size_t source = v->tables.items[index];
    bool moves = plan->census.tables.items[source].offset >> g->cluster_bits >= plan->moves.from;

    for (uint64_t i = 0; !moves && i < g->l2_entries; i++)
        moves = names_one(plan, table, i);
    return moves ? qb_new_replace(plan, source, err) : 0;
}

/* A block that is rewritten has the table that names it rewritten. */
static int list_blocks(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t from = plan->moves.from << plan->in.img->geom.cluster_bits;
    bool all = plan->in.img->header.reftable_offset >= from;

    for (size_t i = 0; i < plan->census.reftable_n; i++)
        if ((plan->census.reftable[i] >= from || (all && plan->census.reftable[i])) &&
            qb_plan_touch(plan, i, err) < 0)
            return -1;
    return 0;
}

int qb_compact_plan(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    uint64_t end = plan->census.end >> plan->in.img->geom.cluster_bits;
    uint64_t used, from;

    if (qb_compact_count_used(plan, &used, err) < 0 || qb_compact_from(plan, used, &from, err) < 0)
        return -1;
    if (from >= end)
        return 0;
    v->tables.n = 0;
    for (size_t i = 0; i < plan->census.tables.n; i++)
        if (qb_counts_push(&plan->census.counts, &v->tables, err, i) < 0)
            return -1;
    plan->moves.from = from;
    if (qb_bitmaps_move(plan, err) < 0 || qb_compact_list_packed(v, err) < 0 ||
        qb_compact_each_page(plan, from, list_clusters, NULL, err) < 0 ||
        list_blocks(plan, err) < 0)
        return -1;
    return qb_visit_scan(v, false, replace_if_it_names_one, err);
}

static void note_moved(struct qb_plan *plan)
{
    plan->reclaim.moved = plan->moves.n * plan->in.img->geom.cluster_size;
    qb_vec_each (p, &plan->moves.pieces)
        plan->reclaim.moved += p->available;
}

int qb_compact_foresee(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t cs = plan->geom.cluster_size, end = plan->image_end / cs, used, moved = 0;

    if (plan->moves.from) {
        note_moved(plan);
        return 0;
    }
    if (!plan->in.rq->reclaim_compact || plan->in.stays == QB_STAYS_ALL)
        return 0;
    if (qb_compact_count_used(plan, &used, err) < 0 ||
        qb_compact_each_page(plan, used, add_data, &moved, err) < 0)
        return -1; /* what lies past as many clusters as are in use moves */
    if (used + qb_compact_metadata(plan) >= end || !moved)
        return 0;
    plan->reclaim.moved = moved * cs;
    plan->reclaim.shortest = used * cs;
    return 0;
}
