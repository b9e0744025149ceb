/* Selects the L2 tables that are rewritten: those that rules name, and those whose COPIED flags
 * change. */
#include <string.h>

#include "plan/new_tables.h"
#include "plan/release.h"

static void visit_free(struct qb_visit *v)
{
    qb_counts_let_go(&v->plan->census.counts, v->tables.cap * sizeof(*v->tables.items));
    qb_counts_let_go(&v->plan->census.counts, v->news.cap * sizeof(*v->news.items));
    qb_vec_free(&v->tables);
    qb_vec_free(&v->news);
    free(v->below);
}

static struct qb_new_table whole_table(const struct qb_plan *plan, size_t source)
{
    const struct qb_l2_table *t = &plan->census.tables.items[source];

    return (struct qb_new_table){
        .source = source,
        .refs = t->refs,
        .l1_index = t->l1_index,
        .active = t->active,
    };
}

int qb_new_replace(struct qb_plan *plan, size_t source, struct qb_err *err)
{
    struct qb_new_table t = whole_table(plan, source);

    t.all_zeros = plan->census.notes[source].zero_plain == plan->in.img->geom.l2_entries;

    if (qb_counts_push(&plan->census.counts, &plan->new_tables.list, err, t) < 0)
        return -1;
    plan->new_tables.of[source] = (uint32_t)plan->new_tables.list.n;
    return 0;
}

int qb_new_drop(struct qb_plan *plan, size_t index, struct qb_err *err)
{
    struct qb_l2_table *t = &plan->census.tables.items[index];

    t->refs--;
    t->active = false;
    plan->new_tables.gone[index] = t->refs == 0;
    return qb_plan_release(plan, t->offset, plan->in.img->geom.cluster_size, 1, err);
}

int qb_new_split(struct qb_plan *plan, uint32_t l1_index, size_t source, struct qb_err *err)
{
    struct qb_new_table t = {
        .source = source, .refs = 1, .l1_index = l1_index, .active = true, .split = true};

    if (qb_counts_push(&plan->census.counts, &plan->new_tables.list, err, t) < 0)
        return -1;
    plan->new_tables.n_splits++;
    return source == QB_NO_TABLE ? 0 : qb_new_drop(plan, source, err);
}

/* Compares the COPIED flags of an active table that stays with the planned counts. */
static int find_wrong_copied(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = &plan->in.img->geom;
    size_t source = v->tables.items[index];
    struct qb_new_table t = whole_table(plan, source);

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, table, i, 0);

        if (qb_l2_has_host(qb_l2_kind_at(g, table, i)) &&
            qb_new_with_copied(plan, &t, entry) != entry)
            return qb_new_replace(plan, source, err);
    }
    return 0;
}

static int plan_copied(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    v->tables.n = 0;
    for (size_t i = 0; i < plan->census.tables.n; i++)
        if (plan->census.tables.items[i].active && !plan->new_tables.of[i] &&
            !plan->new_tables.gone[i] &&
            qb_counts_push(&plan->census.counts, &v->tables, err, i) < 0)
            return -1;
    return qb_visit_scan(v, true, find_wrong_copied, err);
}

/* Assigns the clusters of the zero run, table by table. */
static int number_new_clusters(struct qb_plan *plan, struct qb_err *err)
{
    bool share = plan->in.rq->zero_clusters == QB_ZERO_SHARE;
    struct qb_cursor c = {0};

    for (size_t i = 0; i < plan->new_tables.list.n; i++) {
        struct qb_new_table *t = &plan->new_tables.list.items[i];

        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        t->new_first = c.cluster;
        t->new_used = c.used;
        plan->zeros.n += share ? 0 : t->n_new;
        if (!share)
            c.cluster += t->n_new;
        for (uint64_t k = 0; share && k < t->n_new; k++) {
            uint64_t cluster = qb_new_take_cluster(plan, &c, t->refs);

            if (cluster >= plan->zeros.shared.n &&
                qb_counts_push(&plan->census.counts, &plan->zeros.shared, err, 0) < 0)
                return -1;
            plan->zeros.shared.items[cluster] += t->refs;
        }
    }
    plan->zeros.n += plan->zeros.shared.n;
    if (plan->zeros.n && plan->in.img->header.crypt_method)
        return qb_fail(
            err, QB_E_UNSUPPORTED, QB_NOWHERE,
            "an encrypted image cannot get new clusters of zeros; zero_clusters=defer may help");
    return 0;
}

static int free_old_tables(struct qb_plan *plan, struct qb_err *err)
{
    for (size_t i = 0; i < plan->census.tables.n; i++)
        if (plan->new_tables.of[i] && qb_plan_release(plan, plan->census.tables.items[i].offset,
                                                      plan->in.img->geom.cluster_size,
                                                      plan->census.tables.items[i].refs, err) < 0)
            return -1;
    return 0;
}

static void list_deciders(struct qb_plan *plan)
{
    struct qb_new_tables *t = &plan->new_tables;

    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->entries && qb_works(&plan->target, i))
            t->deciders[t->n_deciders++] = qb_rules[i]->entries;
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->encode)
            t->deciders[t->n_deciders++] = qb_rules[i]->encode;
}

static int by_l1_index(const void *a, const void *b)
{
    const struct qb_new_table *x = a, *y = b;

    return (x->l1_index > y->l1_index) - (x->l1_index < y->l1_index);
}

/* So that they can be found: see new_l1.c. */
static void sort_splits(struct qb_new_tables *t)
{
    size_t i = 1;

    while (i < t->n_splits && t->list.items[i - 1].l1_index < t->list.items[i].l1_index)
        i++;
    if (i < t->n_splits)
        qsort(t->list.items, t->n_splits, sizeof(*t->list.items), by_l1_index);
}

static int plan_all(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    list_deciders(plan);
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->layers && qb_rules[i]->layers(v, err) < 0)
            return -1;
    sort_splits(&plan->new_tables);
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->tables && qb_rules[i]->tables(v, err) < 0)
            return -1;
    if (qb_visit_count(v, err) < 0)
        return -1;
    if (qb_plan_converts(plan) && qb_convert_plan(plan, err) < 0)
        return -1;
    if ((plan->new_tables.recheck_copied || plan->census.copied_wrong) && plan_copied(v, err) < 0)
        return -1;
    if (number_new_clusters(plan, err) < 0)
        return -1;
    return free_old_tables(plan, err);
}

int qb_new_tables_plan(struct qb_plan *plan, struct qb_err *err)
{
    size_t n = plan->census.tables.n;
    struct qb_visit v = {.io = plan->in.io, .plan = plan};
    int r;

    if (qb_counts_hold(&plan->census.counts, n * (sizeof(*plan->new_tables.of) + 1), err) < 0)
        return -1;
    plan->new_tables.of = calloc(n ? n : 1, sizeof(*plan->new_tables.of));
    plan->new_tables.gone = calloc(n ? n : 1, 1);
    if (!plan->new_tables.of || !plan->new_tables.gone)
        r = qb_fail_memory(err);
    else
        r = plan_all(&v, err);
    visit_free(&v);
    return r;
}
