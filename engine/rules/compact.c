/* Chooses what moves down in the file, so that the image ends as early as it can.
 *
 * Of as many clusters as are in use, those at the end have as many free ones before them.  Added to
 * that are those of the metadata that is rewritten, which is there twice until the old one is free.
 * What no table of the plan names by a single entry stays where it is: leaks, bitmaps and
 * compressed data; so the image may end later. */
#include "rules/compact.h"

#include "plan/release.h"

bool qb_compact_works(const struct qb_plan *plan)
{
    const struct qb_request *rq = plan->in.rq;

    return qb_asked(rq, QB_KEY_RECLAIM) && rq->reclaim_compact && !plan->in.stays &&
           plan->target.works == UINT32_C(1) << QB_RULE_reclaim && !plan->census.n_low &&
           !plan->census.n_bad_blocks && !plan->target.rebuild_counts &&
           plan->new_tables.list.n == 0;
}

static int count_used(struct qb_plan *plan, uint64_t *n, struct qb_err *err)
{
    struct qb_count_page *const *pages = qb_counts_pages(&plan->census.counts);

    *n = 0;
    for (size_t k = 0; k < plan->census.counts.n_pages; k++) {
        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        for (unsigned i = 0; i < QB_PAGE_COUNTS; i++)
            *n += qb_page_count(pages[k], i) != 0;
    }
    return 0;
}

/* The most clusters of metadata that may be rewritten. */
static uint64_t metadata_clusters(const struct qb_plan *plan)
{
    const struct qb_image *img = plan->in.img;
    const struct qb_geom *g = &img->geom;
    uint64_t n = plan->census.tables.n + img->header.reftable_clusters + 1 +
                 qb_geom_clusters(g, img->snapshots.len);

    for (unsigned i = 0; i < qb_image_layers(img); i++)
        n += qb_geom_clusters(g, 8ull * qb_image_layer(img, i).l1_size);
    for (size_t i = 0; i < plan->census.reftable_n; i++)
        n += plan->census.reftable[i] != 0;
    return n;
}

/* Its memory is counted with the plan's. */
static int pin(struct qb_plan *plan, uint64_t cluster, struct qb_err *err)
{
    uint64_t held = plan->moves.pinned.memory;

    if (qb_counts_add(&plan->moves.pinned, cluster, 1, 0, err) < 0)
        return -1;
    return qb_counts_hold(&plan->census.counts, plan->moves.pinned.memory - held, err);
}

static int pin_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_plan *plan = ((struct qb_visit *)arg)->plan;
    const struct qb_geom *g = &plan->in.img->geom;

    (void)index;
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        struct qb_compressed z;

        if (qb_l2_kind_at(g, table, i) != QB_COMPRESSED)
            continue;
        z = qb_l2_compressed(g, qb_l2_get(g, table, i, 0));
        for (uint64_t k = z.offset >> g->cluster_bits;
             k <= (z.offset + z.available - 1) >> g->cluster_bits; k++)
            if (pin(plan, k, err) < 0)
                return -1;
    }
    return 0;
}

static bool may_move(struct qb_plan *plan, const struct qb_count_page *p, uint64_t cluster)
{
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

static int list_clusters(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    uint64_t at = qb_counts_next(counts, plan->moves.from);

    for (; at != UINT64_MAX; at = qb_counts_next(counts, at)) {
        const struct qb_count_page *p = qb_counts_page(counts, at);
        uint64_t end = qb_round_up(at + 1, QB_PAGE_COUNTS);

        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        for (; at < end; at++)
            if (may_move(plan, p, at) && add_cluster(plan, at, err) < 0)
                return -1;
    }
    return 0;
}

static int replace_if_it_names_one(void *arg, size_t index, const uint8_t *table,
                                   struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = &plan->in.img->geom;
    size_t source = v->tables.items[index];
    bool moves = plan->census.tables.items[source].offset >> g->cluster_bits >= plan->moves.from;

    for (uint64_t i = 0; !moves && i < g->l2_entries; i++) {
        uint64_t cluster = (qb_l2_get(g, table, i, 0) & QB_ENTRY_OFFSET) >> g->cluster_bits;

        moves = cluster >= plan->moves.from && !g->external_data &&
                qb_l2_has_host(qb_l2_kind_at(g, table, i)) &&
                qb_moves_index(&plan->moves, cluster) != UINT64_MAX;
    }
    return moves ? qb_new_replace(plan, source, err) : 0;
}

static int list_blocks(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t from = plan->moves.from << plan->in.img->geom.cluster_bits;

    for (size_t i = 0; i < plan->census.reftable_n; i++)
        if (plan->census.reftable[i] >= from && qb_plan_touch(plan, i, err) < 0)
            return -1;
    return 0;
}

int qb_compact_plan(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    uint64_t end = plan->census.end >> plan->in.img->geom.cluster_bits;
    uint64_t from;

    if (count_used(plan, &from, err) < 0)
        return -1;
    from += metadata_clusters(plan);
    if (from >= end)
        return 0;
    v->tables.n = 0;
    for (size_t i = 0; i < plan->census.tables.n; i++)
        if (qb_counts_push(&plan->census.counts, &v->tables, err, i) < 0)
            return -1;
    if (plan->census.clusters.compressed && qb_visit_scan(v, true, pin_table, err) < 0)
        return -1;
    plan->moves.from = from;
    if (list_clusters(plan, err) < 0 || list_blocks(plan, err) < 0)
        return -1;
    return qb_visit_scan(v, false, replace_if_it_names_one, err);
}
