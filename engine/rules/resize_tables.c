/* Notes which L2 tables of the active layer a new size cuts, fills or drops. */
#include "base/ranges.h"
#include "plan/new_tables.h"
#include "rules/resize.h"

/* An active table that stays. */
struct active {
    uint32_t l1_index, table; /* of the census */
};

struct actives {
    struct active *items;
    size_t n, cap;
};

size_t qb_resize_zeros_from(const struct qb_resize *e, uint64_t cluster)
{
    return qb_ranges_past(e->zeros.items, e->zeros.n, cluster);
}

/* The first L1 index at or after `from` where the active layer needs a table of its own; UINT64_MAX
 * when there is none.  There are few, so the caller goes from one to the next instead of testing
 * each index. */
static uint64_t next_split(const struct qb_plan *plan, uint64_t from)
{
    const struct qb_resize *e = plan->own[QB_RULE_size];
    uint64_t n = plan->in.img->geom.l2_entries, next = UINT64_MAX;
    size_t zeros = qb_resize_zeros_from(e, from * n);

    if (e->cuts_table && e->cut_l1 >= from)
        next = e->cut_l1;
    if (e->copies && e->copy_cluster / n >= from)
        next = QB_MIN(next, e->copy_cluster / n);
    if (zeros < e->zeros.n)
        next = QB_MIN(next, QB_MAX(e->zeros.items[zeros].first / n, from));
    return next;
}

static int by_l1_index(const void *a, const void *b)
{
    const struct active *x = a, *y = b;

    return (x->l1_index > y->l1_index) - (x->l1_index < y->l1_index);
}

/* The census table that the active layer has at this L1 index. */
static size_t active_table(const struct actives *list, uint32_t l1_index)
{
    struct active key = {.l1_index = l1_index}, *found = NULL;

    if (list->n)
        found = bsearch(&key, list->items, list->n, sizeof(key), by_l1_index);
    return found ? found->table : QB_NO_TABLE;
}

/* Lists the active tables that stay; those past the disk's new end are dropped, and noted in
 * v->tables. */
static int sort_active(struct qb_visit *v, struct actives *kept, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    for (size_t i = 0; i < plan->census.tables.n; i++) {
        struct qb_l2_table *t = &plan->census.tables.items[i];
        struct active a = {t->l1_index, (uint32_t)i};

        if (i % 1024 == 0 && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (!t->active)
            continue;
        if (t->l1_index < plan->active.keep) {
            if (qb_counts_push(&plan->census.counts, kept, err, a) < 0)
                return -1;
        } else if (qb_counts_push(&plan->census.counts, &v->tables, err, i) < 0 ||
                   qb_new_drop(plan, i, err) < 0) {
            return -1;
        }
    }
    if (kept->n)
        qsort(kept->items, kept->n, sizeof(*kept->items), by_l1_index);
    return 0;
}

int qb_resize_tables(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_resize *e = plan->own[QB_RULE_size];
    struct actives kept = {0};
    uint64_t i = next_split(plan, 0);
    int r = qb_counts_hold(&plan->census.counts, e->zeros.cap * sizeof(*e->zeros.items), err);

    v->tables.n = 0;
    if (r == 0)
        r = sort_active(v, &kept, err);

    for (; r == 0 && i < plan->active.size; i = next_split(plan, i + 1)) {
        r = qb_io_go_on(plan->in.io, err);
        if (r == 0)
            r = qb_new_split(plan, (uint32_t)i, active_table(&kept, (uint32_t)i), err);
    }
    qb_counts_let_go(&plan->census.counts, kept.cap * sizeof(*kept.items));
    qb_vec_free(&kept);
    return r < 0 ? -1 : qb_visit_scan(v, true, qb_visit_release_table, err);
}
