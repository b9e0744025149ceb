/* Reads counts: single ones, pages in order, ranges, refcount blocks. */
#include "check/counts.h"

#include <string.h>

#include "qcow2/refcount.h"

/* Index of the first run that ends after `cluster`; runs.n if none does. */
static size_t run_at(const struct qb_counts *c, uint64_t cluster)
{
    size_t lo = 0, hi = c->runs.n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (c->runs.items[mid].end > cluster)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

uint64_t qb_counts_get(struct qb_counts *c, uint64_t cluster)
{
    struct qb_count_page *p;

    if (c->runs.n && cluster >= c->runs.items[0].first) {
        size_t i = run_at(c, cluster);

        return i < c->runs.n && c->runs.items[i].first <= cluster ? c->runs.items[i].count : 0;
    }
    p = qb_counts_page(c, cluster);
    return p ? qb_page_count(p, cluster % QB_PAGE_COUNTS) : 0;
}

unsigned qb_counts_marks(struct qb_counts *c, uint64_t cluster)
{
    struct qb_count_page *p = qb_counts_page(c, cluster);

    return p ? qb_page_marks(p, cluster % QB_PAGE_COUNTS) : 0;
}

/* The page that covers cluster `at`, or NULL; *stop is the end of its clusters, at most `end`. */
static struct qb_count_page *page_span(struct qb_counts *c, uint64_t at, uint64_t end,
                                       uint64_t *stop)
{
    *stop = QB_MIN((at / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, end);
    return qb_counts_page(c, at);
}

static int by_number(const void *a, const void *b)
{
    const struct qb_count_page *const *x = a, *const *y = b;

    return ((*x)->number > (*y)->number) - ((*x)->number < (*y)->number);
}

struct qb_count_page *const *qb_counts_pages(struct qb_counts *c)
{
    if (c->n_ordered == c->n_pages)
        return c->pages;
    qsort(c->pages, c->n_pages, sizeof(struct qb_count_page *), by_number);
    c->n_ordered = c->n_pages;
    qb_index_clear(&c->by_number);
    for (size_t i = 0; i < c->n_pages; i++)
        qb_index_add(&c->by_number, c->pages[i]->number, i);
    return c->pages;
}

/* Index in the ordered pages of the first whose number is `number` or more. */
static size_t page_from(struct qb_counts *c, uint64_t number)
{
    struct qb_count_page *const *pages = qb_counts_pages(c);
    size_t lo = 0, hi = c->n_pages;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (pages[mid]->number >= number)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

uint64_t qb_counts_next(struct qb_counts *c, uint64_t cluster)
{
    size_t i = page_from(c, cluster / QB_PAGE_COUNTS);

    return i < c->n_pages ? QB_MAX(cluster, c->pages[i]->number * QB_PAGE_COUNTS) : UINT64_MAX;
}

bool qb_counts_any(struct qb_counts *c, uint64_t first, uint64_t end)
{
    size_t r = run_at(c, first);

    if (r < c->runs.n && c->runs.items[r].first < end)
        return true;
    for (size_t n = page_from(c, first / QB_PAGE_COUNTS); n < c->n_pages; n++) {
        const struct qb_count_page *p = c->pages[n];
        uint64_t base = p->number * QB_PAGE_COUNTS;

        if (base >= end)
            break;
        if (!p->cells && p->count == 0)
            continue;
        for (uint64_t i = QB_MAX(base, first); i < QB_MIN(base + QB_PAGE_COUNTS, end); i++)
            if (qb_page_count(p, i % QB_PAGE_COUNTS))
                return true;
    }
    return false;
}

static void render_runs(struct qb_counts *c, uint64_t first, uint64_t end, unsigned order,
                        uint8_t *block)
{
    for (size_t r = run_at(c, first); r < c->runs.n && c->runs.items[r].first < end; r++) {
        const struct qb_count_run *run = &c->runs.items[r];
        uint64_t from = QB_MAX(run->first, first), to = QB_MIN(run->end, end);

        qb_refcount_fill(block, from - first, to - from, order, run->count);
    }
}

void qb_counts_render(struct qb_counts *c, uint64_t first, uint64_t n, unsigned order,
                      uint8_t *block)
{
    uint64_t stop;

    for (uint64_t at = first; at < first + n; at = stop) {
        struct qb_count_page *p = page_span(c, at, first + n, &stop);

        bool alike = p && !p->cells;

        if (!alike || !p->count || order < 3) /* parts of a byte are put into zeros */
            memset(block + ((at - first) << order) / 8, 0, ((stop - at) << order) / 8);
        if (alike) {
            if (p->count)
                qb_refcount_fill(block, at - first, stop - at, order, p->count);
            continue;
        }
        for (uint64_t i = at; p && i < stop; i++) {
            uint64_t count = qb_page_count(p, i % QB_PAGE_COUNTS);

            if (count)
                qb_refcount_put(block, i - first, order, count);
        }
    }
    render_runs(c, first, first + n, order, block);
}

uint64_t qb_counts_max(struct qb_counts *c, uint64_t *cluster)
{
    struct qb_count_page *const *pages = qb_counts_pages(c);
    uint64_t max = 0;

    for (size_t n = 0; n < c->n_pages; n++)
        for (unsigned i = 0; i < (pages[n]->cells ? QB_PAGE_COUNTS : 1); i++)
            if (qb_page_count(pages[n], i) > max) {
                max = qb_page_count(pages[n], i);
                *cluster = pages[n]->number * QB_PAGE_COUNTS + i;
            }
    for (size_t r = 0; r < c->runs.n; r++)
        if (c->runs.items[r].count > max) {
            max = c->runs.items[r].count;
            *cluster = c->runs.items[r].first;
        }
    return max;
}

uint64_t qb_counts_end(const struct qb_counts *c)
{
    uint64_t end = c->runs.n ? c->runs.items[c->runs.n - 1].end : 0;

    for (size_t s = 0; s < c->n_pages; s++) {
        const struct qb_count_page *p = c->pages[s];

        for (unsigned i = QB_PAGE_COUNTS; i > 0 && p->number * QB_PAGE_COUNTS + i > end; i--)
            if (qb_page_count(p, i - 1))
                end = p->number * QB_PAGE_COUNTS + i;
    }
    return end;
}
