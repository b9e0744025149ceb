/* Which L2 tables are written anew, and what becomes of each of their entries.
 *
 * Guest content is sacred in the active layer and in every snapshot: an entry that reads zero goes
 * on reading zero, and a preallocated host cluster is never written to, because a snapshot may own
 * it: it loses this reference and is freed when that was the last. */
#include <string.h>

#include "amend/plan.h"

/* Where the next new cluster of zeros of a table comes from. */
struct cursor {
    uint64_t cluster; /* counted from the zero run's start */
    uint64_t used;    /* share: references it has already */
};

enum action { KEEP, CLEAR, NEW_CLUSTER };

static const struct qb_geom *geom_of(const struct qb_plan *plan)
{
    return &plan->img->geom;
}

static bool expands(const struct qb_plan *plan)
{
    return plan->target.header.version == 2;
}

/* What version 2 makes of zero entry `i` of a table. */
static enum action zero_action(const struct qb_plan *plan, const struct qb_out_table *out,
                               uint64_t i)
{
    const struct qb_geom *g = geom_of(plan);
    uint64_t guest = out->l1_index * g->l1_span + i * g->cluster_size;

    if (guest >= plan->backing_size)
        return CLEAR;
    /* VM state that only the active layer has is of no use to anyone behind the disk's end. */
    if (out->active && out->refs == 1 && guest >= plan->target.header.size)
        return CLEAR;
    if (out->deferred && out->deferred[i / 8] >> (i % 8) & 1)
        return CLEAR;
    return NEW_CLUSTER;
}

/* Moves the cursor to a cluster that can take `refs` more references. */
static uint64_t take_cluster(const struct qb_plan *plan, struct cursor *c, uint64_t refs)
{
    if (plan->rq->zero_clusters != QB_ZERO_SHARE)
        return c->cluster++;
    if (c->used && c->used + refs > plan->share_cap) {
        c->cluster++;
        c->used = 0;
    }
    c->used += refs;
    return c->cluster;
}

static uint64_t with_copied(const struct qb_plan *plan, const struct qb_out_table *out,
                            uint64_t entry)
{
    struct qb_counts *counts = (struct qb_counts *)&plan->census.counts;
    uint64_t cluster = (entry & QB_ENTRY_OFFSET) >> geom_of(plan)->cluster_bits;

    if (!out->active || geom_of(plan)->external_data)
        return entry;
    entry &= ~QB_ENTRY_COPIED;
    return qb_counts_get(counts, cluster) == 1 ? entry | QB_ENTRY_COPIED : entry;
}

/* The table before the target version's rules: source, cut, zero stretch, copied cluster. */
static void base_table(const struct qb_plan *plan, const struct qb_out_table *out,
                       const uint8_t *source, uint8_t *table)
{
    const struct qb_geom *g = geom_of(plan);
    uint64_t kept = out->keep_end * g->l2_entry_size;
    be64 all_zero_subclusters = be64_of(0xffffffff00000000ull);

    memcpy(table, source, kept);
    memset(table + kept, 0, g->cluster_size - kept);
    for (uint64_t i = out->zero_first; i < out->zero_end; i++) {
        if (g->l2_entry_size == 16)
            memcpy(table + i * 16 + 8, &all_zero_subclusters, 8);
        else
            qb_l2_put(g, table, i, QB_ENTRY_ZERO);
    }
    if (out->copy_entry != QB_NO_ENTRY)
        qb_l2_put(g, table, out->copy_entry, plan->copy_offset);
}

void qb_out_fill(struct qb_plan *plan, const struct qb_out_table *out, const uint8_t *source,
                 uint8_t *table)
{
    const struct qb_geom *g = geom_of(plan);
    struct cursor c = {out->new_first, out->new_used};

    base_table(plan, out, source, table);
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, table, i, 0);
        enum qb_kind kind = qb_l2_kind(g, entry);

        if (expands(plan) && (kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED)) {
            entry = 0;
            if (zero_action(plan, out, i) == NEW_CLUSTER)
                entry = plan->zero_base + take_cluster(plan, &c, out->refs) * g->cluster_size;
            if (entry)
                entry = with_copied(plan, out, entry);
            qb_l2_put(g, table, i, entry);
        } else if (kind == QB_DATA || kind == QB_ZERO_ALLOCATED) {
            qb_l2_put(g, table, i, with_copied(plan, out, entry));
        }
    }
}

/* ---- references that go away -------------------------------------------------------------------
 */

int qb_plan_touch(struct qb_plan *plan, uint64_t index, struct qb_err *err)
{
    if (index >= plan->touched_n) {
        size_t want = QB_MAX(index + 1, plan->touched_n * 2);
        uint8_t *grown = realloc(plan->touched, want);

        if (!grown)
            return qb_fail_memory(err);
        memset(grown + plan->touched_n, 0, want - plan->touched_n);
        plan->touched = grown;
        plan->touched_n = want;
    }
    plan->touched[index] = 1;
    return 0;
}

static int unref_cluster(struct qb_plan *plan, uint64_t cluster, uint64_t n, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    uint64_t cs = geom_of(plan)->cluster_size;
    uint64_t entries = qb_geom_block_entries(geom_of(plan), plan->target.header.refcount_order);
    uint64_t left;
    struct qb_range r = {cluster * cs, (cluster + 1) * cs};
    struct qb_range *last = plan->punches.n ? &plan->punches.items[plan->punches.n - 1] : NULL;

    if (qb_counts_sub(counts, cluster, n, &left, err) < 0)
        return -1;
    if (left == 1 && (qb_counts_marks(counts, cluster) & QB_MARK_PLAIN))
        plan->recheck_copied = true;
    if (left == 0 && last && last->end == r.first)
        last->end = r.end;
    else if (left == 0 && !qb_vec_push(&plan->punches, r))
        return qb_fail_memory(err);
    return qb_plan_touch(plan, cluster / entries, err);
}

int qb_plan_unref(struct qb_plan *plan, uint64_t offset, uint64_t len, uint64_t n,
                  struct qb_err *err)
{
    unsigned bits = geom_of(plan)->cluster_bits;

    for (uint64_t c = offset >> bits; len && c <= (offset + len - 1) >> bits; c++)
        if (unref_cluster(plan, c, n, err) < 0)
            return -1;
    return 0;
}

static int unref_entry(struct qb_plan *plan, uint64_t entry, uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = geom_of(plan);
    enum qb_kind kind = qb_l2_kind(g, entry);

    if (g->external_data || kind == QB_UNALLOCATED || kind == QB_ZERO_PLAIN)
        return 0;
    if (kind == QB_COMPRESSED) {
        struct qb_compressed z = qb_l2_compressed(g, entry);

        return qb_plan_unref(plan, z.offset, z.available, n, err);
    }
    return qb_plan_unref(plan, entry & QB_ENTRY_OFFSET, g->cluster_size, n, err);
}

/* ---- reading the sources
 * ------------------------------------------------------------------------- */

/* A walk over the sources of the outs [first, end): the scan's own list of tables, in step. */
static int scan_sources(struct qb_io *io, struct qb_plan *plan, const size_t *which, size_t n,
                        qb_table_fn *fn, void *arg, struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_table *list = calloc(n ? n : 1, sizeof(*list));
    struct qb_tables tables = {list, n};

    if (!list)
        return qb_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (which[i] != QB_NO_TABLE)
            list[i].offset = plan->census.tables.items[which[i]].offset;
    return qb_tables_scan(io, plan->img, &tables, 0, n, fn, arg, err);
}

struct visit {
    struct qb_io *io;
    struct qb_plan *plan;
    QB_VEC(size_t) tables; /* census tables to read */
    QB_VEC(size_t) outs;   /* the outs that they are for, where it matters */
    uint8_t *scratch;      /* one cluster */
};

static void visit_free(struct visit *v)
{
    qb_vec_free(&v->tables);
    qb_vec_free(&v->outs);
    free(v->scratch);
}

/* A table that the active layer names no more: each entry loses one reference. */
static int unref_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct visit *v = arg;
    const struct qb_geom *g = geom_of(v->plan);

    (void)index;
    for (uint64_t i = 0; i < g->l2_entries; i++)
        if (unref_entry(v->plan, qb_l2_get(g, table, i, 0), 1, err) < 0)
            return -1;
    return 0;
}

/* zero_clusters=defer: what the whole chain reads as zero may become unallocated. */
static int try_defer(struct visit *v, struct qb_out_table *out, uint64_t i, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = geom_of(plan);
    uint64_t guest = out->l1_index * g->l1_span + i * g->cluster_size;
    QB_AUTO(qb_buf) uint8_t *buf = malloc(g->cluster_size);
    struct qb_err why;

    if (!out->deferred)
        out->deferred = calloc(1, g->l2_entries / 8);
    if (!buf || !out->deferred)
        return qb_fail_memory(err);
    if (qb_chain_read(v->io, &plan->chain, guest, g->cluster_size, buf, &why) < 0) {
        if (why.code == QB_E_UNSUPPORTED)
            return 0; /* not provable: the entry gets a cluster */
        *err = why;
        return -1;
    }
    if (qb_all_zero(buf, g->cluster_size))
        out->deferred[i / 8] |= (uint8_t)(1u << (i % 8));
    return 0;
}

/* One zero entry under version 2's rules. */
static int count_zero(struct visit *v, struct qb_out_table *out, uint64_t i, uint64_t entry,
                      struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    if (plan->rq->zero_clusters == QB_ZERO_DEFER && zero_action(plan, out, i) == NEW_CLUSTER &&
        try_defer(v, out, i, err) < 0)
        return -1;
    if (zero_action(plan, out, i) == NEW_CLUSTER)
        out->n_new++;
    return unref_entry(plan, entry, out->refs, err);
}

/* Counts what `out` takes: new clusters, references that its source's entries lose. */
static int count_out(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct visit *v = arg;
    struct qb_plan *plan = v->plan;
    struct qb_out_table *out = &plan->outs.items[v->outs.items[index]];
    const struct qb_geom *g = geom_of(plan);
    bool left = false;

    if (out->copy_entry != QB_NO_ENTRY &&
        unref_entry(plan, qb_l2_get(g, source, out->copy_entry, 0), 1, err) < 0)
        return -1;
    for (uint64_t i = out->keep_end; i < g->l2_entries; i++)
        if (unref_entry(plan, qb_l2_get(g, source, i, 0), 1, err) < 0)
            return -1;
    base_table(plan, out, source, v->scratch);
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, v->scratch, i, 0);
        enum qb_kind kind = qb_l2_kind(g, entry);
        bool zero = kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED;

        if (i == out->copy_entry)
            left = true;
        else if (!zero || !expands(plan))
            left |= entry || (g->l2_entry_size == 16 && qb_l2_get(g, v->scratch, i, 1));
        else if (count_zero(v, out, i, entry, err) < 0)
            return -1;
    }
    out->empty = !left && out->n_new == 0;
    return 0;
}

/* Most tables need no second look: all of their zero entries become the same thing. */
static bool count_from_note(struct qb_plan *plan, struct qb_out_table *out)
{
    const struct qb_geom *g = geom_of(plan);
    const struct qb_table_note *note;
    uint64_t first = out->l1_index * g->l1_span, end = first + g->l1_span;
    bool backed = end <= QB_MIN(plan->backing_size, plan->target.header.size);

    if (out->source == QB_NO_TABLE || out->split)
        return false;
    note = &plan->census.notes[out->source];
    if (note->zero_allocated || (!backed && first < plan->backing_size) ||
        plan->rq->zero_clusters == QB_ZERO_DEFER)
        return false;
    out->n_new = backed ? note->zero_plain : 0;
    out->empty = out->n_new + note->data + note->compressed == 0;
    return true;
}

static int count_outs(struct visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    v->tables.n = 0;
    for (size_t i = 0; i < plan->outs.n; i++)
        if (!count_from_note(plan, &plan->outs.items[i]) &&
            (!qb_vec_push(&v->tables, plan->outs.items[i].source) || !qb_vec_push(&v->outs, i)))
            return qb_fail_memory(err);
    return scan_sources(v->io, plan, v->tables.items, v->tables.n, count_out, v, err);
}

/* ---- which tables
 * ---------------------------------------------------------------------------------- */

static struct qb_out_table plain_out(const struct qb_plan *plan, size_t source)
{
    const struct qb_table *t = &plan->census.tables.items[source];

    return (struct qb_out_table){
        .source = source,
        .refs = t->refs,
        .l1_index = t->l1_index,
        .active = t->active,
        .keep_end = geom_of(plan)->l2_entries,
        .copy_entry = QB_NO_ENTRY,
    };
}

static int replace_table(struct qb_plan *plan, size_t source, struct qb_err *err)
{
    struct qb_out_table out = plain_out(plan, source);

    if (!qb_vec_push(&plan->outs, out))
        return qb_fail_memory(err);
    plan->out_of[source] = (uint32_t)plan->outs.n;
    return 0;
}

/* The active layer lets go of a table: what is left are the snapshots' references. */
static int drop_active(struct qb_plan *plan, size_t index, struct qb_err *err)
{
    struct qb_table *t = &plan->census.tables.items[index];

    t->refs--;
    t->active = false;
    plan->gone[index] = t->refs == 0;
    return qb_plan_unref(plan, t->offset, geom_of(plan)->cluster_size, 1, err);
}

static int split_table(struct qb_plan *plan, uint32_t l1_index, size_t source, struct qb_err *err)
{
    const struct qb_edge *e = &plan->edge;
    uint64_t n = geom_of(plan)->l2_entries, first = l1_index * n;
    struct qb_out_table out = {
        .source = source,
        .refs = 1,
        .l1_index = l1_index,
        .active = true,
        .split = true,
        .keep_end = source == QB_NO_TABLE ? 0 : n,
        .copy_entry = QB_NO_ENTRY,
    };

    if (l1_index == e->cut_l1 && e->cut_entry)
        out.keep_end = QB_MIN(out.keep_end, e->cut_entry);
    if (e->copy_bytes && e->copy_cluster / n == l1_index)
        out.copy_entry = e->copy_cluster % n;
    if (e->zero_first < first + n && e->zero_end > first) {
        out.zero_first = QB_MAX(e->zero_first, first) - first;
        out.zero_end = QB_MIN(e->zero_end, first + n) - first;
    }
    if (!qb_vec_push(&plan->outs, out))
        return qb_fail_memory(err);
    plan->split_of[l1_index] = (uint32_t)plan->outs.n;
    return source == QB_NO_TABLE ? 0 : drop_active(plan, source, err);
}

/* Whether the active layer needs a table of its own at this L1 index. */
static bool edge_touches(const struct qb_plan *plan, uint32_t l1_index)
{
    const struct qb_edge *e = &plan->edge;
    uint64_t n = geom_of(plan)->l2_entries, first = l1_index * n;

    if (l1_index == e->cut_l1 && e->cuts_table)
        return true;
    if (e->copy_bytes && e->copy_cluster / n == l1_index)
        return true;
    return e->zero_first < e->zero_end && e->zero_first < first + n && e->zero_end > first;
}

static int plan_resize(struct visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_edge *e = &plan->edge;
    uint32_t entries = QB_MAX(e->l1_size, plan->img->header.l1_size);
    QB_AUTO(qb_buf) size_t *active = malloc(((size_t)entries + 1) * sizeof(*active));

    plan->split_of = calloc((size_t)entries + 1, sizeof(*plan->split_of));
    if (!active || !plan->split_of)
        return qb_fail_memory(err);
    for (uint32_t i = 0; i < entries; i++)
        active[i] = QB_NO_TABLE;
    for (size_t i = 0; i < plan->census.tables.n; i++) {
        struct qb_table *t = &plan->census.tables.items[i];

        if (!t->active)
            continue;
        if (t->l1_index < e->l1_keep) {
            active[t->l1_index] = i;
            continue;
        }
        if (!qb_vec_push(&v->tables, i))
            return qb_fail_memory(err);
        if (drop_active(plan, i, err) < 0)
            return -1;
    }
    for (uint32_t i = 0; i < e->l1_size; i++)
        if (edge_touches(plan, i) && split_table(plan, i, active[i], err) < 0)
            return -1;
    return scan_sources(v->io, plan, v->tables.items, v->tables.n, unref_table, v, err);
}

/* Version 2 has no word for zero clusters: every table with one is written anew. */
static int plan_expansion(struct qb_plan *plan, struct qb_err *err)
{
    for (size_t i = 0; i < plan->census.tables.n; i++) {
        const struct qb_table_note *note = &plan->census.notes[i];

        if (!plan->gone[i] && note->zero_plain + note->zero_allocated &&
            replace_table(plan, i, err) < 0)
            return -1;
    }
    return 0;
}

/* COPIED flags of an active table that stays, against the counts that will be. */
static int find_wrong_copied(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct visit *v = arg;
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = geom_of(plan);
    size_t source = v->tables.items[index];
    struct qb_out_table out = plain_out(plan, source);

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, table, i, 0);
        enum qb_kind kind = qb_l2_kind(g, entry);

        if ((kind == QB_DATA || kind == QB_ZERO_ALLOCATED) &&
            with_copied(plan, &out, entry) != entry)
            return replace_table(plan, source, err);
    }
    return 0;
}

static int plan_copied(struct visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    v->tables.n = 0;
    for (size_t i = 0; i < plan->census.tables.n; i++)
        if (plan->census.tables.items[i].active && !plan->out_of[i] && !plan->gone[i] &&
            !qb_vec_push(&v->tables, i))
            return qb_fail_memory(err);
    return scan_sources(v->io, plan, v->tables.items, v->tables.n, find_wrong_copied, v, err);
}

/* Hands out the clusters of the zero run, table by table. */
static int number_new_clusters(struct qb_plan *plan, struct qb_err *err)
{
    bool share = plan->rq->zero_clusters == QB_ZERO_SHARE;
    struct cursor c = {0};

    for (size_t i = 0; i < plan->outs.n; i++) {
        struct qb_out_table *out = &plan->outs.items[i];

        out->new_first = c.cluster;
        out->new_used = c.used;
        plan->n_new_clusters += share ? 0 : out->n_new;
        if (!share)
            c.cluster += out->n_new;
        for (uint64_t k = 0; share && k < out->n_new; k++) {
            uint64_t cluster = take_cluster(plan, &c, out->refs);

            if (cluster >= plan->shared.n && !qb_vec_push(&plan->shared, 0))
                return qb_fail_memory(err);
            plan->shared.items[cluster] += out->refs;
        }
    }
    plan->n_new_clusters += plan->shared.n;
    if (plan->n_new_clusters && plan->img->header.crypt_method)
        return qb_fail(
            err, QB_E_UNSUPPORTED, QB_NOWHERE,
            "an encrypted image cannot get new clusters of zeros; zero_clusters=defer may help");
    return 0;
}

static int free_old_tables(struct qb_plan *plan, struct qb_err *err)
{
    for (size_t i = 0; i < plan->census.tables.n; i++)
        if (plan->out_of[i] &&
            qb_plan_unref(plan, plan->census.tables.items[i].offset, geom_of(plan)->cluster_size,
                          plan->census.tables.items[i].refs, err) < 0)
            return -1;
    return 0;
}

static int plan_all(struct visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    if (plan->target.resize && plan_resize(v, err) < 0)
        return -1;
    if (expands(plan) && plan_expansion(plan, err) < 0)
        return -1;
    if (count_outs(v, err) < 0)
        return -1;
    if ((plan->recheck_copied || plan->census.copied_wrong) && plan_copied(v, err) < 0)
        return -1;
    if (number_new_clusters(plan, err) < 0)
        return -1;
    return free_old_tables(plan, err);
}

int qb_outs_plan(struct qb_io *io, struct qb_plan *plan, struct qb_err *err)
{
    size_t n = plan->census.tables.n;
    struct visit v = {.io = io, .plan = plan, .scratch = malloc(geom_of(plan)->cluster_size)};
    int r;

    plan->out_of = calloc(n ? n : 1, sizeof(*plan->out_of));
    plan->gone = calloc(n ? n : 1, 1);
    if (!v.scratch || !plan->out_of || !plan->gone)
        r = qb_fail_memory(err);
    else
        r = plan_all(&v, err);
    visit_free(&v);
    return r;
}

/* ---- L1 entries
 * ------------------------------------------------------------------------------------- */

static uint64_t entry_to(const struct qb_out_table *out, bool active)
{
    if (out->empty)
        return 0;
    return out->offset | (active && out->refs == 1 ? QB_ENTRY_COPIED : 0);
}

uint64_t qb_out_l1_entry(struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old)
{
    const struct qb_table *t;
    size_t i;

    if (layer == 0 && plan->split_of && plan->split_of[index])
        return entry_to(&plan->outs.items[plan->split_of[index] - 1], true);
    if (layer == 0 && plan->target.resize && index >= plan->edge.l1_keep)
        return 0;
    t = old & QB_ENTRY_OFFSET ? qb_tables_find(&plan->census.tables, old & QB_ENTRY_OFFSET) : NULL;
    if (!t)
        return 0;
    i = (size_t)(t - plan->census.tables.items);
    if (plan->out_of[i])
        return entry_to(&plan->outs.items[plan->out_of[i] - 1], layer == 0);
    if (layer != 0)
        return old;
    old &= ~QB_ENTRY_COPIED;
    return t->refs == 1 ? old | QB_ENTRY_COPIED : old;
}
