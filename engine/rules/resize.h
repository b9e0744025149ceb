/* Computes what a new virtual size means for the active layer: entries that are dropped, a last
 * cluster whose tail must read zero, and the part of a longer backing file that must stay
 * invisible.
 *
 * Two facts of the format: VM state lies in the L1 entries past the disk, so growing would turn it
 * into disk; bytes past the end of an unaligned disk need not be zero. */
#ifndef QB_RULES_RESIZE_H
#define QB_RULES_RESIZE_H

#include "plan/plan.h"

struct qb_resize {
    bool drops_tables; /* active L1 entries lose their tables */
    uint32_t cut_l1;   /* the L1 entry whose table keeps only entries [0, cut_entry) */
    uint64_t cut_entry;
    bool cuts_table;       /* some entries of that table are dropped */
    uint64_t copy_cluster; /* guest cluster number of the last cluster, ... */
    bool copies;           /* ... if it must be copied: */
    bool copies_in_place;  /* ... into the external data file, where it has its place already: */
    struct qb_range copy_part; /* ... only these bytes of it, or none, in which case copy_bytes is
                                  NULL */
    uint64_t copy_bitmap;      /* extended L2: its subclusters */
    uint8_t *copy_bytes;       /* its new content; owned, until the plan takes it over ... */
    size_t copy_source;        /* ... as this one of its contents */
    QB_VEC(struct qb_range)
    zeros; /* guest clusters that need a zero entry, because the backing chain may show data there;
              ascending, disjoint */
    bool fills_in_place; /* `zeros` become data of a raw data file instead: what is written to that
                            file later is to be seen in the disk */
    uint64_t zero_end;   /* end of the last of `zeros`, in clusters; 0 if there are none */
};

void qb_resize_free(struct qb_resize *e);

/* The index in `zeros` of the first range that ends after this guest cluster. */
size_t qb_resize_zeros_from(const struct qb_resize *e, uint64_t cluster);

/* Fills *out, and sets what the active L1 table must become (plan->active).  Reads the last
 * cluster, and through plan->below the target's backing chain where that is longer than the disk
 * and the disk grows.  QB_E_MEMORY when `zeros` would take more than the request's memory limit. */
int qb_resize_probe(struct qb_plan *plan, struct qb_resize *out, struct qb_err *err);

/* resize_tables.c: notes the tables that the active layer loses or gets for itself. */
int qb_resize_tables(struct qb_visit *v, struct qb_err *err);

/* resize_verify.c: checks that the L1 entries and the entries of the last L2 table that are newly
 * inside the disk are zero.  -1 with QB_E_VERIFY. */
int qb_resize_verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                     struct qb_err *err);

#endif
