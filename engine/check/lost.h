/* Finds L2 tables that nothing names any more: leaked clusters that can be nothing else, and name
 * clusters that leaked with them.  They are the last way to a guest's bytes. */
#ifndef QB_CHECK_LOST_H
#define QB_CHECK_LOST_H

#include "check/census.h"

/* The stretches of a layer's disk that no L2 table maps, or one without any entry: one of them was
 * a lost one's. */
struct qb_gaps {
    uint64_t mapped, end; /* L1 entries: looked at so far; those of the disk */
    uint64_t n, first;    /* stretches of one L1 entry each; the first one's L1 index */
};

int qb_gaps_find(struct qb_io *io, const struct qb_census *c, unsigned layer, struct qb_gaps *out,
                 struct qb_err *err);

/* Whether the cluster's refcount is higher than its references. */
typedef bool qb_leaked_fn(void *arg, uint64_t cluster);

/* How many clusters a leaked cluster names that are leaked with it, if all of it can be the entries
 * of an L2 table, of which at least half are these; else 0. */
uint64_t qb_lost_names(const struct qb_image *img, const uint8_t *table, qb_leaked_fn *is_leaked,
                       void *arg);

struct qb_lost {
    uint64_t n, first;   /* tables; byte of the file */
    uint64_t clusters;   /* that are leaked with them */
    unsigned layer;      /* that lacks a table ... */
    struct qb_gaps gaps; /* ... and what it lacks */
};

/* Looks for lost tables among the clusters of c->surplus that have no reference, all of them, if a
 * layer lacks a table.  Needs c->surplus; takes less than 3 MiB, within the limit of c->counts.  An
 * image with an external data file has none: where its tables lead says nothing about them. */
int qb_lost_find(struct qb_io *io, struct qb_census *c, struct qb_lost *out, struct qb_err *err);

#endif
