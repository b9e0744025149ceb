/* Adds counts that were made separately. */
#include <string.h>

#include "check/counts_parts.h"

int qb_counts_add_counts(struct qb_counts *c, struct qb_counts *more, struct qb_err *err)
{
    struct qb_count_page *const *pages = qb_counts_pages(more);

    for (size_t k = 0; k < more->n_pages; k++) {
        const struct qb_count_page *p = pages[k];
        uint64_t base = p->number * QB_PAGE_COUNTS;

        for (unsigned i = 0, end; i < QB_PAGE_COUNTS; i = end) {
            uint64_t n = qb_page_count(p, i);

            end = p->cells ? i + 1 : QB_PAGE_COUNTS;
            while (end < QB_PAGE_COUNTS && qb_page_count(p, end) == n)
                end++;
            if (n && qb_counts_add_plain(c, base + i, end - i, n, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Whether no sum of two cells exceeds a byte. */
static bool fits(const uint8_t *a, const uint8_t *b)
{
    unsigned over = 0;

    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++)
        over |= (unsigned)a[i] + b[i];
    return over <= UINT8_MAX;
}

static void add_bytes(uint8_t *a, const uint8_t *b)
{
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
        uint8_t meets = a[QB_PAGE_COUNTS + i] & QB_MARK_META && b[i] ? QB_MARK_OVERLAP : 0;

        a[QB_PAGE_COUNTS + i] |= b[QB_PAGE_COUNTS + i] | meets;
    }
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++)
        a[i] = (uint8_t)(a[i] + b[i]);
}

static int add_page(struct qb_counts *c, struct qb_count_page *p, const struct qb_count_page *more,
                    struct qb_err *err)
{
    if (!p->cells && !more->cells) {
        p->marks |= more->marks | (more->count && p->marks & QB_MARK_META ? QB_MARK_OVERLAP : 0);
        p->count += more->count;
        return 0;
    }
    if (qb_counts_unpack(c, p, err) < 0)
        return -1;
    if (more->cells && !p->wide && !more->wide && fits(p->cells, more->cells)) {
        add_bytes(p->cells, more->cells);
        qb_counts_pack(c, p);
        return 0;
    }
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
        uint64_t n = qb_page_count(more, i);
        unsigned meets = n && qb_page_marks(p, i) & QB_MARK_META ? QB_MARK_OVERLAP : 0;

        if (qb_counts_add_cell(c, p, i, n, qb_page_marks(more, i) | meets, err) < 0)
            return -1;
    }
    qb_counts_pack(c, p);
    return 0;
}

int qb_counts_join(struct qb_counts *c, struct qb_counts *part, struct qb_err *err)
{
    int r = 0;

    for (size_t k = 0; k < part->n_pages; k++) {
        struct qb_count_page *more = part->pages[k];
        struct qb_count_page *p = r == 0 ? qb_counts_page(c, more->number * QB_PAGE_COUNTS) : NULL;

        if (r == 0 && !p)
            r = qb_counts_adopt(c, more, err);
        else {
            if (r == 0)
                r = add_page(c, p, more, err);
            qb_count_page_free(more);
        }
    }
    part->n_pages = 0;
    qb_counts_free(part);
    return r;
}
