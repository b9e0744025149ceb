/* Finds from which cluster on a compaction moves what there is: the first one that has room before
 * it.
 *
 * Before it as many clusters must be free as are in use from it on, and as many as what lies before
 * it and is rewritten takes once more.  L2 tables that lie before it are rewritten where they name
 * data that moves; so there are two answers, of which the lower one counts: one where data may move
 * and all tables before it with it, and one past all data. */
#include <stdlib.h>

#include "rules/bitmaps.h"
#include "rules/compact.h"

int qb_compact_each_page(struct qb_plan *plan, uint64_t from, qb_compact_page_fn *fn, void *arg,
                         struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    uint64_t at = qb_counts_next(counts, from), end;

    for (; at != UINT64_MAX; at = qb_counts_next(counts, end)) {
        end = qb_round_up(at + 1, QB_PAGE_COUNTS);
        if (qb_io_go_on(plan->in.io, err) < 0 ||
            fn(plan, qb_counts_page(counts, at), at, end, arg, err) < 0)
            return -1;
    }
    return 0;
}

static int add_used(struct qb_plan *plan, const struct qb_count_page *p, uint64_t first,
                    uint64_t end, void *arg, struct qb_err *err)
{
    uint64_t *n = arg;

    (void)plan;
    (void)err;
    for (; first < end; first++)
        *n += qb_page_count(p, first % QB_PAGE_COUNTS) != 0;
    return 0;
}

int qb_compact_count_used(struct qb_plan *plan, uint64_t *n, struct qb_err *err)
{
    *n = 0;
    return qb_compact_each_page(plan, 0, add_used, n, err);
}

uint64_t qb_compact_metadata(const struct qb_plan *plan)
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

/* ---- where data moves ------------------------------------------------------------------------ */

struct search {
    uint64_t needs;    /* clusters of the image, and of the metadata before `at` */
    uint64_t at;       /* how far the search has come */
    uint64_t found;    /* UINT64_MAX: nothing yet */
    uint64_t data_end; /* past the last cluster of data */
};

static int search_page(struct qb_plan *plan, const struct qb_count_page *p, uint64_t first,
                       uint64_t end, void *arg, struct qb_err *err)
{
    struct search *s = arg;

    (void)plan;
    (void)err;
    if (s->found == UINT64_MAX && first >= s->needs) /* between the pages all is free */
        s->found = qb_max(s->at, s->needs);
    for (; first < end; first++) {
        bool is_data = qb_page_has_data(p, first % QB_PAGE_COUNTS);

        if (s->found == UINT64_MAX && first >= s->needs)
            s->found = first;
        s->needs += !is_data && qb_page_count(p, first % QB_PAGE_COUNTS);
        s->data_end = is_data ? first + 1 : s->data_end;
    }
    s->at = end;
    return 0;
}

/* ---- where no data moves --------------------------------------------------------------------- */

static int add_range(struct qb_plan *plan, struct qb_ranges *list, uint64_t offset, uint64_t len,
                     struct qb_err *err)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t first = offset >> g->cluster_bits;

    return len == 0 ? 0
                    : qb_counts_push(&plan->census.counts, list, err,
                                     ((struct qb_range){first, first + qb_geom_clusters(g, len)}));
}

/* The metadata that may be rewritten wherever it is, but for that of bitmaps, in clusters. */
static int list_fixed(struct qb_plan *plan, struct qb_ranges *list, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t cs = img->geom.cluster_size;

    if (add_range(plan, list, 0, cs, err) < 0 ||
        add_range(plan, list, img->header.reftable_offset, img->header.reftable_clusters * cs,
                  err) < 0 ||
        add_range(plan, list, img->header.snapshots_offset, img->snapshots.len, err) < 0)
        return -1;
    for (unsigned i = 0; i < qb_image_layers(img); i++) {
        struct qb_layer l = qb_image_layer(img, i);

        if (add_range(plan, list, l.l1_offset, 8ull * l.l1_size, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < plan->census.reftable_n; i++) {
        uint64_t offset = plan->census.reftable[i] & QB_REFTABLE_OFFSET;

        if (add_range(plan, list, offset, offset ? cs : 0, err) < 0)
            return -1;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct qb_range *p = a, *q = b;

    return (p->first > q->first) - (p->first < q->first);
}

/* The first cluster at or past `least` whose number is at least `needs`, and what the ranges before
 * it take. */
static uint64_t past_fixed(const struct qb_ranges *list, uint64_t least, uint64_t needs)
{
    for (size_t i = 0; i < list->n && list->items[i].first < qb_max(least, needs); i++)
        needs += list->items[i].end - list->items[i].first;
    return qb_max(least, needs);
}

int qb_compact_from(struct qb_plan *plan, uint64_t used, uint64_t *from, struct qb_err *err)
{
    struct search s = {.needs = used, .found = UINT64_MAX};
    struct qb_ranges fixed = {0};
    uint64_t bitmaps, past;
    int r;

    if (qb_bitmaps_metadata(plan, &bitmaps, err) < 0 ||
        qb_compact_each_page(plan, 0, search_page, &s, err) < 0)
        return -1;
    r = list_fixed(plan, &fixed, err);
    if (r == 0) {
        qsort(fixed.items, fixed.n, sizeof(*fixed.items), by_place);
        past = past_fixed(&fixed, s.data_end, used + bitmaps);
        *from = qb_min(qb_min(s.found, past), used + qb_compact_metadata(plan) + bitmaps);
    }
    qb_counts_let_go(&plan->census.counts, fixed.cap * sizeof(*fixed.items));
    qb_vec_free(&fixed);
    return r;
}
