/* Defines an image's geometry: the numbers from the header that all arithmetic on offsets takes, as
 * a `const struct qb_geom *`, never an open image. */
#ifndef QB_QCOW2_GEOM_H
#define QB_QCOW2_GEOM_H

#include <stdbool.h>

#include "base/num.h"

struct qb_geom {
    unsigned cluster_bits;   /* 9..21 */
    unsigned refcount_order; /* 0..6: a refcount is 1 << order bits */
    uint64_t cluster_size;   /* bytes */
    uint64_t l2_entries;     /* in one L2 table */
    unsigned l2_entry_size;  /* bytes: 8, or 16 with extended L2 */
    uint64_t l1_span;        /* guest bytes that one L1 entry covers */
    uint64_t block_entries;  /* refcounts in one refcount block */
    bool external_data;      /* data clusters lie in another file and have no refcount */
};

static inline uint64_t qb_geom_block_entries(const struct qb_geom *g, unsigned order)
{
    return g->cluster_size * 8 >> order;
}

/* L1 entries that a disk of `size` bytes needs; the VM state starts after them. */
static inline uint64_t qb_geom_l1_needed(const struct qb_geom *g, uint64_t size)
{
    return qb_div_up(size, g->l1_span);
}

/* Clusters that n bytes occupy. */
static inline uint64_t qb_geom_clusters(const struct qb_geom *g, uint64_t bytes)
{
    return qb_div_up(bytes, g->cluster_size);
}

#endif
