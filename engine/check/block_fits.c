#include "check/block_fits.h"

#include "qcow2/refcount.h"

/* Not 0 if a comparison finds fault with these marks of a cluster that is counted so often. */
static unsigned fault(uint64_t count, unsigned marks)
{
    return marks & (QB_MARK_OVERLAP | (count == 1 ? QB_MARK_PLAIN : QB_MARK_COPIED));
}

/* A whole page, each cluster with a count of its own, and refcounts of 16 bits: what most images
 * have, and a loop that the compiler vectorises. */
static bool page_fits(const uint8_t *cells, const uint8_t *disk)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++)
        bad |=
            disk[2 * i] | (disk[2 * i + 1] ^ cells[i]) | fault(cells[i], cells[QB_PAGE_COUNTS + i]);
    return bad == 0;
}

/* The clusters [from, to), which lie in one page; `base` is the first of the block. */
static bool span_fits(const struct qb_census *c, const uint8_t *block, uint64_t base, uint64_t from,
                      uint64_t to)
{
    const struct qb_count_page *p = qb_counts_find(&c->counts, from);
    unsigned order = c->img->geom.refcount_order;
    const uint8_t *disk = block + ((from - base) << order) / 8;

    if (!p)
        return qb_all_zero(disk, ((to - from) << order) / 8);
    if (!p->cells && (from | to) % 8 == 0)
        return !fault(p->count, p->marks) &&
               qb_refcount_all(block, from - base, to - from, order, p->count);
    if (p->cells && !p->wide && order == 4 && to - from == QB_PAGE_COUNTS)
        return page_fits(p->cells, disk);
    for (uint64_t i = from; i < to; i++) {
        uint64_t count = qb_page_count(p, i % QB_PAGE_COUNTS);

        if (qb_refcount_get(block, i - base, order) != count ||
            fault(count == 1, qb_page_marks(p, i % QB_PAGE_COUNTS)))
            return false;
    }
    return true;
}

bool qb_block_fits(const struct qb_census *c, size_t index, const uint8_t *block)
{
    uint64_t n = c->img->geom.block_entries, base = index * n, next;

    for (uint64_t at = base; at < base + n; at = next) {
        next = QB_MIN((at / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, base + n);
        if (!span_fits(c, block, base, at, next))
            return false;
    }
    return true;
}
