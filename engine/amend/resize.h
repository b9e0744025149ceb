/* Parts of the rule of size.  What a new virtual size means for the active layer: entries that fall
 * away, a last cluster whose tail must read zero, and the stretch of a longer backing file that
 * must not show.
 *
 * Facts of the format behind it: VM state lies in the L1 entries behind the disk, so growing would
 * turn it into disk; bytes behind the end of an unaligned disk are not zero by any rule. */
#ifndef QB_AMEND_RESIZE_H
#define QB_AMEND_RESIZE_H

#include "amend/plan.h"

struct qb_resize {
    bool drops_tables; /* active L1 entries lose their tables */
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
};

void qb_resize_free(struct qb_resize *e);

/* The place in `zeros` of the first that ends behind this guest cluster. */
size_t qb_resize_zeros_from(const struct qb_resize *e, uint64_t cluster);

/* Reads what it takes to know, and sets what is asked of the active L1 table.  plan->below is the
 * target's backing chain, whole where it is longer than the disk and the disk grows.  QB_E_MEMORY
 * when `zeros` would take more than the request's memory limit. */
int qb_resize_probe(struct qb_plan *plan, struct qb_resize *out, struct qb_err *err);

/* resize_tables.c: the tables that the active layer loses or gets for itself. */
int qb_resize_tables(struct qb_visit *v, struct qb_err *err);

/* resize_verify.c: that the L1 entries and the entries of the last L2 table which now lie inside
 * the disk and did not before read zero.  -1 with QB_E_VERIFY. */
int qb_resize_verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                     struct qb_err *err);

#endif
