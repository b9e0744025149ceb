/* What a new virtual size means for the active layer: entries that fall away, a last cluster whose
 * tail must read zero, and the stretch of a longer backing file that must not show.
 *
 * Facts of the format behind it: VM state lies in the L1 entries behind the disk, so growing would
 * turn it into disk; bytes behind the end of an unaligned disk are not zero by any rule. */
#ifndef QB_AMEND_RESIZE_H
#define QB_AMEND_RESIZE_H

#include "amend/target.h"
#include "qcow2/chain.h"

struct qb_resize {
    uint64_t l1_keep;  /* active L1 entries from here on lose their tables ... */
    bool drops_tables; /* ... and there are some */
    uint32_t cut_l1;   /* the L1 entry whose table keeps only entries [0, cut_entry) */
    uint64_t cut_entry;
    bool cuts_table;       /* some entries fall away there */
    uint64_t copy_cluster; /* guest cluster number of the last cluster, ... */
    bool copies;           /* ... if it must be copied: */
    uint8_t *copy_bytes;   /* its new content, owned, until the plan takes it over ... */
    size_t copy_source;    /* ... as this one of its contents */
    QB_VEC(struct qb_range)
    zeros;             /* guest clusters that must have a zero entry from now on: where
                          the backing chain may show data; ascending, disjoint */
    uint64_t zero_end; /* where the last of `zeros` ends; 0: there are none */
    uint32_t l1_size;  /* entries of the active L1 table afterwards */
    bool moves_l1;     /* they do not fit where it is, or clusters of it become free */
};

void qb_resize_free(struct qb_resize *e);

/* Whether nothing but the header's size and L1 size changes. */
static inline bool qb_resize_is_header_only(const struct qb_resize *e)
{
    return !e->drops_tables && !e->cuts_table && !e->copies && e->zeros.n == 0 && !e->moves_l1;
}

/* The place in `zeros` of the first that ends behind this guest cluster. */
size_t qb_resize_zeros_from(const struct qb_resize *e, uint64_t cluster);

/* Reads what it takes to know.  `chain` is the target's backing chain, NULL when there is none; it
 * must be whole where it is longer than the disk and the disk grows.  QB_E_MEMORY when `zeros`
 * would take more than memory_limit bytes (0: no limit). */
int qb_resize_probe(struct qb_io *io, const struct qb_image *img, const struct qb_target *t,
                    struct qb_chain *chain, uint64_t memory_limit, struct qb_resize *out,
                    struct qb_err *err);

#endif
