/* preallocation: every guest cluster of the active disk, what a larger size adds included, gets a
 * host cluster: one of the run of new zeros at the file's end, which reads zero whatever the file
 * or device had there before.
 *
 * A standard entry shows its cluster, so one that shows the backing file stays unallocated.  An
 * extended entry shows what it did, and only has its place. */
#include <string.h>

#include "plan/new_tables.h"

/* Guest clusters of the active layer. */
struct preallocation {
    uint64_t shown; /* before this one the backing file may show */
    uint64_t end;   /* of the disk */
};

static const char *const modes[] = {"off", "metadata", "falloc", "full"};
enum { OFF, METADATA, FALLOC, FULL, N_MODES };

static unsigned mode_of(const struct qb_request *rq)
{
    unsigned i = 0;

    if (!qb_asked(rq, QB_KEY_PREALLOCATION))
        return OFF;
    while (i < N_MODES && strcmp(qb_text_of(rq->preallocation), modes[i]) != 0)
        i++;
    return i;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    unsigned mode = mode_of(rq);

    if (mode == OFF)
        return 0;
    if (mode == N_MODES)
        return QB_REFUSE("unknown preallocation mode \"%.40s\"", qb_text_of(rq->preallocation));
    if (img->header.crypt_method)
        return QB_CANNOT(
            "preallocation: the new clusters of an encrypted image would not read zero");
    if (img->geom.external_data)
        return QB_CANNOT("preallocation of an image with an external data file");
    if (rq->zero_clusters != QB_ZERO_ALLOCATE)
        return QB_REFUSE("preallocation gives each cluster its own place, and zero_clusters=%s "
                         "does not",
                         rq->zero_clusters == QB_ZERO_SHARE ? "share" : "defer");
    if (mode != METADATA && rq->zero_method == QB_ZEROED_HOLE)
        return QB_REFUSE("preallocation=%s reserves space, and zero_method=hole does not",
                         modes[mode]);
    if (t->header.size == 0)
        return 0;
    t->reach = QB_REACH_TABLES;
    return 1;
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t cs = img->geom.cluster_size, size = plan->target.header.size;
    unsigned mode = mode_of(plan->in.rq);
    struct preallocation *p;

    if (!qb_works(&plan->target, QB_RULE_preallocation))
        return 0;
    p = qb_plan_own(plan, QB_RULE_preallocation, sizeof(*p), err);
    if (!p || qb_below_open(plan, err) < 0)
        return -1;
    p->end = plan->active.filled = qb_div_up(size, cs);
    /* What a larger size adds reads zero: rule_size.c. */
    p->shown = qb_div_up(QB_MIN(plan->below.size, QB_MIN(img->header.size, size)), cs);
    if (mode != METADATA)
        plan->zeros.how =
            QB_MAX(plan->zeros.how, mode == FULL ? QB_ZEROED_WRITE : QB_ZEROED_FALLOC);
    return 0;
}

static void encode(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    const struct preallocation *p = plan->own[QB_RULE_preallocation];
    uint64_t guest = t->l1_index * plan->in.img->geom.l2_entries + e->first;
    bool kept = e->fate == QB_FATE_KEEP;
    bool unallocated = e->fate == QB_FATE_UNALLOCATE || (kept && e->kind == QB_UNALLOCATED);
    bool zero = e->fate == QB_FATE_ZERO || (kept && e->kind == QB_ZERO_PLAIN);

    if (!p || !t->split || guest >= p->end)
        return;
    if (!unallocated && !zero && !(kept && e->kind == QB_PARTIAL))
        return;
    e->n = QB_MIN(e->n, p->end - guest);
    if (plan->geom.l2_entry_size == 16) {
        e->shows = e->fate;
        e->fate = QB_FATE_NEW_PLACE;
    } else if (zero || guest >= p->shown) {
        e->fate = QB_FATE_NEW_ZEROS;
    } else {
        e->n = QB_MIN(e->n, p->shown - guest);
    }
}

/* ---- tables ---------------------------------------------------------------------------------- */

struct taken {
    const struct qb_plan *plan;
    const uint8_t *source;
    uint64_t n;
};

static int add_taken(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    struct taken *t = arg;

    (void)err;
    t->n += qb_new_taken(t->plan, t->source, e);
    return 0;
}

/* Splits the table if an entry of it lacks a cluster. */
static int split_lacking(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    size_t source = v->tables.items[index];
    uint32_t l1_index = plan->census.tables.items[source].l1_index;
    struct qb_new_table t = {
        .source = source, .refs = 1, .l1_index = l1_index, .active = true, .split = true};
    struct taken taken = {plan, table, 0};

    if (qb_new_walk(plan, &t, table, add_taken, &taken, err) < 0)
        return -1;
    return taken.n ? qb_new_split(plan, l1_index, source, err) : 0;
}

/* Whether the census has seen a host cluster of its own, or a compressed one, in each entry. */
static bool is_full(const struct qb_plan *plan, size_t table)
{
    const struct qb_table_note *note = &plan->census.notes[table];

    return plan->in.img->geom.l2_entry_size == 8 && plan->geom.l2_entry_size == 8 &&
           note->data + note->compressed == plan->in.img->geom.l2_entries;
}

static void mark(uint8_t *present, uint64_t l1_index, uint64_t n)
{
    if (l1_index < n)
        present[l1_index / 8] |= (uint8_t)(1u << (l1_index % 8));
}

/* Marks the L1 entries that have a table, of the first n, and lists the tables to look at. */
static int list_tables(struct qb_visit *v, uint8_t *present, uint64_t n, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    v->tables.n = 0;
    for (size_t i = 0; i < plan->new_tables.n_splits; i++)
        mark(present, plan->new_tables.list.items[i].l1_index, n);
    for (size_t i = 0; i < plan->census.tables.n; i++) {
        const struct qb_l2_table *t = &plan->census.tables.items[i];

        if (i % 1024 == 0 && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (!t->active || t->l1_index >= n)
            continue;
        mark(present, t->l1_index, n);
        if (!is_full(plan, i) && qb_counts_push(&plan->census.counts, &v->tables, err, i) < 0)
            return -1;
    }
    return 0;
}

/* Refuses at once what cannot have the space for its new tables, and clusters if they take any. */
static int check_size(const struct qb_plan *plan, const uint8_t *present, uint64_t first,
                      uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t missing = 0, tail = plan->in.img->file->size, need;

    for (uint64_t i = first; i < n; i++)
        missing += !(present[i / 8] >> (i % 8) & 1);
    if (missing == 0)
        return 0;
    need = missing * g->cluster_size;
    if (plan->zeros.how > QB_ZEROED_HOLE)
        need += (missing - 1) * g->l1_span;
    tail -= QB_MIN(tail, plan->census.end); /* may have its space already */
    return qb_plan_check_free(plan, need - QB_MIN(need, tail), err);
}

static int add_missing(struct qb_plan *plan, const uint8_t *present, uint64_t first, uint64_t n,
                       struct qb_err *err)
{
    if (check_size(plan, present, first, n, err) < 0)
        return -1;
    for (uint64_t i = first; i < n; i++) {
        if (i % 1024 == 0 && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (!(present[i / 8] >> (i % 8) & 1) &&
            qb_new_split(plan, (uint32_t)i, QB_NO_TABLE, err) < 0)
            return -1;
    }
    return 0;
}

static int layers(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct preallocation *p = plan->own[QB_RULE_preallocation];
    uint64_t entries = plan->in.img->geom.l2_entries, n = p ? qb_div_up(p->end, entries) : 0;
    QB_AUTO(qb_buf) uint8_t *present = NULL;
    uint64_t first = 0;
    int r;

    if (!p)
        return 0;
    /* With standard entries there is nothing to be said of a table that only shows what is below.
     */
    if (plan->geom.l2_entry_size == 8)
        first = p->shown / entries;
    if (qb_counts_hold(&plan->census.counts, n / 8 + 1, err) < 0)
        return -1;
    present = calloc(n / 8 + 1, 1);
    r = present ? list_tables(v, present, n, err) : qb_fail_memory(err);
    if (r == 0)
        r = qb_visit_scan(v, false, split_lacking, err);
    if (r == 0)
        r = add_missing(plan, present, first, n, err);
    qb_counts_let_go(&plan->census.counts, n / 8 + 1);
    return r;
}

const struct qb_rule qb_rule_preallocation = {
    .name = "preallocation",
    .resolve = resolve,
    .probe = probe,
    .layers = layers,
    .encode = encode,
};
