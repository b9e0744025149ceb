/* Verifies that the entries that a new size has taken into use are zero. */
#include <inttypes.h>
#include <stdlib.h>

#include "rules/resize.h"

#define WRONG(...) qb_fail(err, QB_E_VERIFY, __VA_ARGS__)

/* Checks the L1 entries from `first` on: VM state that was dropped, and bytes past the old table.
 */
static int verify_l1(struct qb_io *io, const struct qb_image *now, uint64_t first,
                     struct qb_err *err)
{
    const struct qb_header *h = &now->header;
    QB_AUTO(qb_buf) uint64_t *l1 = NULL;

    if (first >= h->l1_size)
        return 0;
    if (qb_image_read_l1(io, now, h->l1_offset + 8 * first, (uint32_t)(h->l1_size - first), &l1,
                         err) < 0)
        return -1;
    for (uint64_t i = first; i < h->l1_size; i++)
        if (l1[i - first])
            return WRONG(h->l1_offset + 8 * i,
                         "L1 entry %" PRIu64 ", which came into use, is 0x%" PRIx64 " instead of 0",
                         i, l1[i - first]);
    return 0;
}

/* Checks the entries of one L2 table from `first` on. */
static int verify_l2(struct qb_io *io, const struct qb_image *now, uint64_t l1_index,
                     uint64_t first, struct qb_err *err)
{
    const struct qb_geom *g = &now->geom;
    uint64_t entry, at, skip = first * g->l2_entry_size;
    QB_AUTO(qb_buf) uint8_t *table = NULL;

    if (first >= g->l2_entries)
        return 0;
    if (qb_image_lookup(io, now, l1_index * g->l1_span, &entry, &at, err) < 0)
        return -1;
    if (at == 0)
        return 0;
    table = malloc(g->cluster_size - skip);
    if (!table)
        return qb_fail_memory(err);
    if (qb_io_read(io, now->file, at + skip, table, g->cluster_size - skip, "an L2 table", err) < 0)
        return -1;
    if (!qb_all_zero(table, g->cluster_size - skip))
        return WRONG(at + skip, "the L2 table of the disk's old end has entries past that end");
    return 0;
}

int qb_resize_verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                     struct qb_err *err)
{
    const struct qb_geom *g = &now->geom;
    const struct qb_resize *e = plan->own[QB_RULE_size];
    uint64_t kept = QB_MIN(plan->in.img->header.size, plan->target.header.size);
    uint64_t used = qb_max(qb_div_up(kept, g->cluster_size), e->zero_end); /* guest clusters */

    used = QB_MAX(used, plan->active.filled);
    if (verify_l1(io, now, qb_div_up(used, g->l2_entries), err) < 0)
        return -1;
    if (used % g->l2_entries == 0)
        return 0;
    return verify_l2(io, now, used / g->l2_entries, used % g->l2_entries, err);
}
