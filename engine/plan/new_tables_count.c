/* Reads the sources of the tables that are rewritten, and counts what each will take. */
#include <string.h>

#include "plan/new_tables.h"
#include "plan/release.h"

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
    r = qb_tables_scan(&(struct qb_table_scan){v->io, v->plan->in.img, &tables, held_only, fn, v},
                       err);
    qb_counts_let_go(&v->plan->census.counts, n * sizeof(*list));
    return r;
}

int qb_visit_release_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    const struct qb_geom *g = &v->plan->in.img->geom;

    (void)index;
    return qb_plan_release_entries(v->plan, table, 0, g->l2_entries, 1, err);
}

struct counting {
    struct qb_plan *plan;
    struct qb_new_table *t;
    const uint8_t *source;
    unsigned filled; /* a bit for each half of the table that keeps or gets something */
};

/* Drops the table's references to the clusters of entries of its source. */
static int release(const struct counting *c, const struct qb_entries *e, struct qb_err *err)
{
    if (e->kind == QB_UNALLOCATED || e->kind == QB_ZERO_PLAIN)
        return 0;
    return qb_plan_release_entries(c->plan, c->source, e->first, e->n, c->t->refs, err);
}

/* Notes the half [first, end) if the entries leave something in it. */
static void note_left(struct counting *c, const struct qb_entries *e, uint64_t first, uint64_t end,
                      unsigned half)
{
    uint64_t size = c->plan->in.img->geom.l2_entry_size;

    first = QB_MAX(e->first, first);
    end = QB_MIN(e->first + e->n, end);
    if (first >= end || c->filled & half || e->fate == QB_FATE_UNALLOCATE)
        return;
    if (e->fate != QB_FATE_KEEP || c->t->all_zeros ||
        !qb_all_zero(c->source + first * size, (end - first) * size))
        c->filled |= half;
}

static int count_run(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    struct counting *c = arg;
    uint64_t n = c->plan->in.img->geom.l2_entries;

    note_left(c, e, 0, n / 2, 1);
    note_left(c, e, n / 2, n, 2);
    if (e->fate == QB_FATE_KEEP)
        return 0;
    c->t->n_new += qb_new_taken(c->plan, c->source, e);
    c->t->n_appended += e->fate == QB_FATE_APPENDED ? e->n : 0;
    c->t->n_copied += e->fate == QB_FATE_COPY ? e->n : 0;
    if (e->fate == QB_FATE_NEW_PLACE && e->shows == QB_FATE_KEEP)
        return 0; /* what these have, they keep */
    return release(c, e, err);
}

static bool looks(const struct qb_plan *plan, unsigned rule)
{
    return qb_rules[rule]->looks && qb_rules[rule]->looks(plan);
}

/* Counts the new clusters that a table takes, and the references that its source's entries lose. */
static int count_table(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    struct qb_new_table *t = &plan->new_tables.list.items[v->news.items[index]];
    struct counting c = {plan, t, source, 0};

    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (looks(plan, i) && qb_rules[i]->look(v, t, source, err) < 0)
            return -1;
    if (qb_new_walk(plan, t, source, count_run, &c, err) < 0)
        return -1;
    t->filled = c.filled;
    t->empty = !c.filled;
    return 0;
}

/* Most tables need no second pass: all of their zero entries have the same fate. */
static bool count_from_note(struct qb_plan *plan, struct qb_new_table *t)
{
    struct qb_entries zeros = {.n = plan->in.img->geom.l2_entries, .kind = QB_ZERO_PLAIN};
    const struct qb_table_note *note;

    if (t->source == QB_NO_TABLE || t->split || qb_plan_converts(plan))
        return false;
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (looks(plan, i))
            return false;
    note = &plan->census.notes[t->source];
    qb_new_decide(plan, t, &zeros);
    if (note->zero_allocated || zeros.n < plan->in.img->geom.l2_entries ||
        zeros.fate == QB_FATE_KEEP)
        return false;
    t->n_new = zeros.fate == QB_FATE_NEW_ZEROS ? note->zero_plain : 0;
    t->empty = t->n_new + note->data + note->compressed == 0;
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
             qb_counts_push(counts, &v->news, err, i) < 0))
            return -1;
    return qb_visit_scan(v, false, count_table, err);
}
