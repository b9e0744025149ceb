/* Reading the sources of the tables that are written anew, and counting what each will take. */
#include <string.h>

#include "amend/new_tables.h"

int qb_visit_scan(struct qb_visit *v, bool held_only, qb_table_fn *fn, struct qb_err *err)
{
    size_t n = v->tables.n;
    QB_AUTO(qb_buf) struct qb_l2_table *list = NULL;
    struct qb_tables tables;
    int r;

    if (qb_counts_hold(&v->plan->census.counts, n * sizeof(*list), err) < 0)
        return -1;
    list = calloc(n ? n : 1, sizeof(*list));
    tables = (struct qb_tables){list, n, n};
    if (!list)
        return qb_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (v->tables.items[i] != QB_NO_TABLE)
            list[i].offset = v->plan->census.tables.items[v->tables.items[i]].offset;
    r = held_only ? qb_tables_scan_held(v->io, v->plan->in.img, &tables, 0, n, fn, v, err)
                  : qb_tables_scan(v->io, v->plan->in.img, &tables, 0, n, fn, v, err);
    qb_counts_let_go(&v->plan->census.counts, n * sizeof(*list));
    return r;
}

int qb_visit_release_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    const struct qb_geom *g = &v->plan->in.img->geom;

    (void)index;
    for (uint64_t i = 0; i < g->l2_entries; i++)
        if (qb_plan_release_entry(v->plan, qb_l2_get(g, table, i, 0), 1, err) < 0)
            return -1;
    return 0;
}

/* Whether the chain proves that the cluster at `guest` reads zero without the image's entry: by
 * what it has allocated where that will do, else by its bytes. */
static int reads_zero_below(struct qb_visit *v, uint64_t guest, bool *zero, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    uint64_t cs = plan->in.img->geom.cluster_size;
    struct qb_range data;
    struct qb_err why;

    *zero = guest >= v->empty.first && guest + cs <= v->empty.end;
    if (*zero)
        return 0;
    if (qb_chain_next_data(v->io, &plan->below.chain, guest, INT64_MAX, &data, err) < 0)
        return -1;
    v->empty = (struct qb_range){guest, data.first};
    *zero = guest + cs <= data.first;
    if (*zero)
        return 0;
    if (qb_chain_read(v->io, &plan->below.chain, guest, cs, v->below, &why) == 0) {
        *zero = qb_all_zero(v->below, cs);
        return 0;
    }
    if (why.code == QB_E_UNSUPPORTED)
        return 0; /* not provable: the entry gets a cluster */
    *err = why;
    return -1;
}

/* zero_clusters=defer: what the whole chain reads as zero may become unallocated. */
static int try_defer(struct qb_visit *v, struct qb_new_table *out, uint64_t i, struct qb_err *err)
{
    const struct qb_geom *g = &v->plan->in.img->geom;
    bool zero;

    if (!out->deferred && qb_counts_hold(&v->plan->census.counts, g->l2_entries / 8, err) < 0)
        return -1;
    if (!out->deferred)
        out->deferred = calloc(1, g->l2_entries / 8);
    if (!v->below)
        v->below = malloc(g->cluster_size);
    if (!out->deferred || !v->below)
        return qb_fail_memory(err);
    if (reads_zero_below(v, out->l1_index * g->l1_span + i * g->cluster_size, &zero, err) < 0)
        return -1;
    if (zero)
        out->deferred[i / 8] |= (uint8_t)(1u << (i % 8));
    return 0;
}

/* One zero entry under version 2's rules. */
static int count_zero(struct qb_visit *v, struct qb_new_table *out, uint64_t i, uint64_t entry,
                      struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    if (plan->in.rq->zero_clusters == QB_ZERO_DEFER && qb_new_needs_cluster(plan, out, i) &&
        try_defer(v, out, i, err) < 0)
        return -1;
    if (qb_new_needs_cluster(plan, out, i))
        out->n_new++;
    return qb_plan_release_entry(plan, entry, out->refs, err);
}

/* Counts what `out` takes: new clusters, references that its source's entries lose. */
static int count_out(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    struct qb_new_table *out = &plan->new_tables.list.items[v->outs.items[index]];
    const struct qb_geom *g = &plan->in.img->geom;
    bool left = false;

    if (out->copy_entry != QB_NO_ENTRY &&
        qb_plan_release_entry(plan, qb_l2_get(g, source, out->copy_entry, 0), 1, err) < 0)
        return -1;
    for (uint64_t i = out->keep_end; i < g->l2_entries; i++)
        if (qb_plan_release_entry(plan, qb_l2_get(g, source, i, 0), 1, err) < 0)
            return -1;
    qb_new_base(plan, out, source, v->scratch);
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, v->scratch, i, 0);
        enum qb_kind kind = qb_l2_kind(g, entry);
        bool zero = kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED;

        if (i == out->copy_entry)
            left = true;
        else if (!zero || !qb_new_expands(plan))
            left |= entry || (g->l2_entry_size == 16 && qb_l2_get(g, v->scratch, i, 1));
        else if (count_zero(v, out, i, entry, err) < 0)
            return -1;
    }
    out->empty = !left && out->n_new == 0;
    return 0;
}

/* Most tables need no second look: all of their zero entries become the same thing. */
static bool count_from_note(struct qb_plan *plan, struct qb_new_table *out)
{
    const struct qb_geom *g = &plan->in.img->geom;
    const struct qb_table_note *note;
    uint64_t first = out->l1_index * g->l1_span, end = first + g->l1_span;
    bool backed = end <= QB_MIN(plan->below.size, plan->target.header.size);

    if (out->source == QB_NO_TABLE || out->split)
        return false;
    note = &plan->census.notes[out->source];
    if (note->zero_allocated || (!backed && first < plan->below.size) ||
        plan->in.rq->zero_clusters == QB_ZERO_DEFER)
        return false;
    out->n_new = backed ? note->zero_plain : 0;
    out->empty = out->n_new + note->data + note->compressed == 0;
    return true;
}

int qb_visit_count(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    struct qb_counts *counts = &plan->census.counts;

    v->tables.n = 0;
    for (size_t i = 0; i < plan->new_tables.list.n; i++)
        if (!count_from_note(plan, &plan->new_tables.list.items[i]) &&
            (qb_counts_push(counts, &v->tables, err, plan->new_tables.list.items[i].source) < 0 ||
             qb_counts_push(counts, &v->outs, err, i) < 0))
            return -1;
    return qb_visit_scan(v, false, count_out, err);
}
