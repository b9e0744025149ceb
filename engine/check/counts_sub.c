/* Subtracts from counts. */
#include "check/counts_parts.h"

/* Of the whole page, whose clusters are all alike. */
static void sub_page(struct qb_count_page *p, uint64_t n, struct qb_counts_left *left)
{
    p->count -= QB_MIN(n, p->count);
    left->n_zero = p->count == 0 ? QB_PAGE_COUNTS : 0;
    left->is_one_of_plain = p->count == 1 && p->marks & QB_MARK_PLAIN;
    p->marks |= QB_MARK_DROPPED;
}

static void sub_cells(struct qb_count_page *p, unsigned i, unsigned end, uint64_t n,
                      struct qb_counts_left *left)
{
    for (; i < end; i++) {
        uint64_t count = qb_page_count(p, i);

        count -= QB_MIN(n, count);
        if (p->wide)
            p->wide[i] = count;
        else
            p->cells[i] = (uint8_t)count;
        left->n_zero += count == 0;
        left->is_one_of_plain |= count == 1 && p->cells[QB_PAGE_COUNTS + i] & QB_MARK_PLAIN;
        p->cells[QB_PAGE_COUNTS + i] |= QB_MARK_DROPPED;
    }
}

int qb_counts_sub(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                  struct qb_counts_left *left, struct qb_err *err)
{
    unsigned i = first % QB_PAGE_COUNTS;
    unsigned end = (unsigned)qb_min(i + clusters, QB_PAGE_COUNTS);
    struct qb_count_page *p = qb_counts_page(c, first);

    *left = (struct qb_counts_left){.n = end - i};
    if (!p) {
        left->n_zero = left->n;
        return 0;
    }
    if (!p->cells && left->n == QB_PAGE_COUNTS) {
        sub_page(p, n, left);
        return 0;
    }
    if (qb_counts_unpack(c, p, err) < 0)
        return -1;
    sub_cells(p, i, end, n, left);
    if (end == QB_PAGE_COUNTS)
        qb_counts_pack(c, p);
    return 0;
}
