#include <string.h>

#include "base/own.h"
#include "check/counts_parts.h"

void qb_count_page_free(struct qb_count_page *p)
{
    free(p->wide);
    free(p->cells);
    free(p);
}

void qb_counts_free(struct qb_counts *c)
{
    for (size_t i = 0; i < c->n_pages; i++)
        qb_count_page_free(c->pages[i]);
    free(c->pages);
    qb_index_free(&c->by_number);
    qb_vec_free(&c->runs);
    *c = (struct qb_counts){0};
}

/* malloc's overhead for a block: its head, and rounding up to 16. */
static uint64_t with_head(uint64_t bytes)
{
    return qb_round_up(bytes + 8, 16);
}

static int take_memory(struct qb_counts *c, uint64_t bytes, struct qb_err *err)
{
    bytes = with_head(bytes);
    if (c->memory_limit && c->memory + bytes > c->memory_limit)
        return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                       "counting and planning this image takes more than %llu KiB",
                       (unsigned long long)(c->memory_limit >> 10));
    c->memory += bytes;
    return 0;
}

int qb_counts_hold(struct qb_counts *c, uint64_t bytes, struct qb_err *err)
{
    return take_memory(c, bytes, err);
}

void qb_counts_let_go(struct qb_counts *c, uint64_t bytes)
{
    c->memory -= qb_min(with_head(bytes), c->memory);
}

/* Bytes of the list of pages beside an index of that size, which is at most half full. */
static uint64_t pages_beside(uint64_t index_bytes)
{
    return index_bytes / sizeof(struct qb_index_slot) / 2 * sizeof(struct qb_count_page *);
}

static int make_room(struct qb_counts *c, struct qb_err *err)
{
    uint64_t wants = qb_index_wants(&c->by_number), had = qb_index_memory(&c->by_number);
    struct qb_count_page **pages;

    if (!wants)
        return 0;
    if (take_memory(c, wants + pages_beside(wants), err) < 0)
        return -1;
    pages = realloc(c->pages, pages_beside(wants));
    if (!pages)
        return qb_fail_memory(err);
    c->pages = pages;
    if (!qb_index_room(&c->by_number, 1))
        return qb_fail_memory(err);
    if (had)
        c->memory -= with_head(had + pages_beside(had));
    return 0;
}

struct qb_count_page *qb_counts_find(const struct qb_counts *c, uint64_t cluster)
{
    uint64_t number = cluster / QB_PAGE_COUNTS;
    struct qb_probe probe = qb_index_probe(&c->by_number, number);

    while (qb_index_next(&c->by_number, &probe))
        if (c->pages[probe.item]->number == number)
            return c->pages[probe.item];
    return NULL;
}

struct qb_count_page *qb_counts_page(struct qb_counts *c, uint64_t cluster)
{
    struct qb_count_page *p = c->last;

    if (!p || p->number != cluster / QB_PAGE_COUNTS)
        p = qb_counts_find(c, cluster);
    c->last = p ? p : c->last;
    return p;
}

static void put_page(struct qb_counts *c, struct qb_count_page *p)
{
    qb_index_add(&c->by_number, p->number, c->n_pages);
    if (c->n_ordered == c->n_pages &&
        (c->n_pages == 0 || c->pages[c->n_pages - 1]->number < p->number))
        c->n_ordered++;
    c->pages[c->n_pages++] = p;
    c->last = p;
}

static struct qb_count_page *page_make(struct qb_counts *c, uint64_t cluster, struct qb_err *err)
{
    struct qb_count_page *p = qb_counts_page(c, cluster);

    if (p)
        return p;
    if (make_room(c, err) < 0 || take_memory(c, sizeof(*p), err) < 0)
        return NULL;
    p = calloc(1, sizeof(*p));
    if (!p) {
        qb_fail_memory(err);
        return NULL;
    }
    p->number = cluster / QB_PAGE_COUNTS;
    put_page(c, p);
    return p;
}

int qb_counts_adopt(struct qb_counts *c, struct qb_count_page *p, struct qb_err *err)
{
    int r = make_room(c, err);

    r = r < 0 ? r : take_memory(c, sizeof(*p), err);
    if (r == 0 && p->cells)
        r = take_memory(c, 2 * QB_PAGE_COUNTS, err);
    if (r == 0 && p->wide)
        r = take_memory(c, QB_PAGE_COUNTS * sizeof(*p->wide), err);
    if (r == 0)
        put_page(c, p);
    else
        qb_count_page_free(p);
    return r;
}

static int widen(struct qb_counts *c, struct qb_count_page *p, struct qb_err *err)
{
    if (take_memory(c, QB_PAGE_COUNTS * sizeof(*p->wide), err) < 0)
        return -1;
    p->wide = malloc(QB_PAGE_COUNTS * sizeof(*p->wide));
    if (!p->wide)
        return qb_fail_memory(err);
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++)
        p->wide[i] = p->cells[i];
    return 0;
}

int qb_counts_unpack(struct qb_counts *c, struct qb_count_page *p, struct qb_err *err)
{
    if (p->cells)
        return 0;
    if (take_memory(c, 2 * QB_PAGE_COUNTS, err) < 0)
        return -1;
    p->cells = malloc(2 * QB_PAGE_COUNTS);
    if (!p->cells)
        return qb_fail_memory(err);
    memset(p->cells, (int)qb_min(p->count, UINT8_MAX), QB_PAGE_COUNTS);
    memset(p->cells + QB_PAGE_COUNTS, p->marks, QB_PAGE_COUNTS);
    if (p->count <= UINT8_MAX)
        return 0;
    if (widen(c, p, err) < 0)
        return -1;
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++)
        p->wide[i] = p->count;
    return 0;
}

static bool are_alike(const void *list, size_t size)
{
    return memcmp(list, (const uint8_t *)list + size, (QB_PAGE_COUNTS - 1) * size) == 0;
}

void qb_counts_pack(struct qb_counts *c, struct qb_count_page *p)
{
    if (!p->cells || !are_alike(p->cells + QB_PAGE_COUNTS, 1) ||
        !(p->wide ? are_alike(p->wide, sizeof(*p->wide)) : are_alike(p->cells, 1)))
        return;
    p->count = qb_page_count(p, 0);
    p->marks = p->cells[QB_PAGE_COUNTS];
    c->memory -= with_head(2 * QB_PAGE_COUNTS);
    if (p->wide)
        c->memory -= with_head(QB_PAGE_COUNTS * sizeof(*p->wide));
    free(qb_take(&p->cells));
    free(qb_take(&p->wide));
}

int qb_counts_add_cell(struct qb_counts *c, struct qb_count_page *p, unsigned i, uint64_t n,
                       unsigned marks, struct qb_err *err)
{
    if (!p->wide && (n > UINT8_MAX || p->cells[i] + n > UINT8_MAX) && widen(c, p, err) < 0)
        return -1;
    if (p->wide)
        p->wide[i] += n;
    else
        p->cells[i] = (uint8_t)(p->cells[i] + n);
    p->cells[QB_PAGE_COUNTS + i] |= (uint8_t)marks;
    return 0;
}

int qb_counts_add(struct qb_counts *c, uint64_t cluster, uint64_t n, unsigned marks,
                  struct qb_err *err)
{
    struct qb_count_page *p = page_make(c, cluster, err);

    if (!p || qb_counts_unpack(c, p, err) < 0)
        return -1;
    return qb_counts_add_cell(c, p, cluster % QB_PAGE_COUNTS, n, marks, err);
}

/* Adds to unpacked cells [i, end), where every sum fits a byte; else false.  These loops are
 * vectorised. */
static bool add_bytes(struct qb_count_page *p, unsigned i, unsigned end, uint64_t n, unsigned marks,
                      unsigned on_meta)
{
    uint8_t *counts = p->cells, *all_marks = p->cells + QB_PAGE_COUNTS, most = 0;

    for (unsigned k = i; k < end; k++)
        most = QB_MAX(most, counts[k]);
    if (p->wide || n > (uint64_t)UINT8_MAX - most)
        return false;
    for (unsigned k = i; k < end; k++) {
        all_marks[k] |= (uint8_t)(marks | (all_marks[k] & QB_MARK_META ? on_meta : 0));
        counts[k] = (uint8_t)(counts[k] + n);
    }
    return true;
}

/* Adds to a part of a page, [i, end).  `on_meta` is an additional mark for clusters of metadata, or
 * 0. */
static int add_span(struct qb_counts *c, struct qb_count_page *p, unsigned i, unsigned end,
                    uint64_t n, unsigned marks, unsigned on_meta, struct qb_err *err)
{
    bool whole = end - i == QB_PAGE_COUNTS;

    if (whole && !p->cells && !(on_meta && (p->marks & QB_MARK_META))) {
        p->count += n;
        p->marks |= (uint8_t)marks;
        return 0;
    }
    if (qb_counts_unpack(c, p, err) < 0)
        return -1;
    if (add_bytes(p, i, end, n, marks, on_meta))
        i = end;
    for (; i < end; i++) {
        unsigned more = p->cells[QB_PAGE_COUNTS + i] & QB_MARK_META ? on_meta : 0;

        if (qb_counts_add_cell(c, p, i, n, marks | more, err) < 0)
            return -1;
    }
    if (end == QB_PAGE_COUNTS)
        qb_counts_pack(c, p);
    return 0;
}

static int add_range(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                     unsigned marks, unsigned on_meta, struct qb_err *err)
{
    uint64_t end = first + clusters, stop;

    for (; first < end; first = stop) {
        uint64_t page = first / QB_PAGE_COUNTS * QB_PAGE_COUNTS;
        struct qb_count_page *p = page_make(c, first, err);

        stop = QB_MIN(page + QB_PAGE_COUNTS, end);
        if (!p || add_span(c, p, (unsigned)(first - page), (unsigned)(stop - page), n, marks,
                           on_meta, err) < 0)
            return -1;
    }
    return 0;
}

int qb_counts_add_data(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                       unsigned marks, struct qb_err *err)
{
    return add_range(c, first, clusters, n, marks, QB_MARK_OVERLAP, err);
}

int qb_counts_add_plain(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                        struct qb_err *err)
{
    return add_range(c, first, clusters, n, 0, 0, err);
}

/* A whole page where nothing was counted stays a few words, even for a huge table. */
static int add_meta_span(struct qb_counts *c, struct qb_count_page *p, unsigned i, unsigned end,
                         int *overlaps, struct qb_err *err)
{
    if (end - i == QB_PAGE_COUNTS && !p->cells && p->count == 0 && p->marks == 0) {
        p->count = 1;
        p->marks = QB_MARK_META;
        return 0;
    }
    if (qb_counts_unpack(c, p, err) < 0)
        return -1;
    for (; i < end; i++) {
        unsigned mark = qb_page_count(p, i) ? QB_MARK_OVERLAP : 0;

        *overlaps |= mark != 0;
        if (qb_counts_add_cell(c, p, i, 1, QB_MARK_META | mark, err) < 0)
            return -1;
    }
    return 0;
}

int qb_counts_add_meta(struct qb_counts *c, uint64_t first, uint64_t clusters, int *overlaps,
                       struct qb_err *err)
{
    uint64_t end = first + clusters, stop;

    for (; first < end; first = stop) {
        uint64_t page = first / QB_PAGE_COUNTS * QB_PAGE_COUNTS;
        struct qb_count_page *p = page_make(c, first, err);

        stop = QB_MIN(page + QB_PAGE_COUNTS, end);
        if (!p || add_meta_span(c, p, (unsigned)(first - page), (unsigned)(stop - page), overlaps,
                                err) < 0)
            return -1;
    }
    return 0;
}

int qb_counts_append(struct qb_counts *c, uint64_t first, uint64_t n, uint64_t count,
                     struct qb_err *err)
{
    struct qb_count_run *last = c->runs.n ? &c->runs.items[c->runs.n - 1] : NULL;
    struct qb_count_run run = {first, first + n, count};

    if (n == 0)
        return 0;
    if (last && last->end == first && last->count == count)
        last->end += n;
    else if (qb_counts_push(c, &c->runs, err, run) < 0)
        return -1;
    return 0;
}
