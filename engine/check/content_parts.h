/* Between the parts of the content fingerprint: content.c (layers, comparison), content_table.c
 * (one L2 table), content_edge.c (clusters that are looked at one by one), content_host.c (host
 * bytes). */
#ifndef QB_CHECK_CONTENT_PARTS_H
#define QB_CHECK_CONTENT_PARTS_H

#include "check/content.h"
#include "check/counts.h"
#include "qcow2/tables.h"

#define QB_NO_CLUSTER UINT64_MAX

/* What one L2 table says to those that name it; empty where that is nothing. */
struct qb_table_print {
    struct qb_digest whole;  /* to snapshots */
    struct qb_digest active; /* to the active layer, within what is compared of it */
    bool seen;               /* false: it lies in a hole, and so is like no table at all */
};

struct qb_taking {
    struct qb_io *io;
    const struct qb_image *img;
    const struct qb_content_rules *rules;
    struct qb_content *out;
    struct qb_tables tables;
    struct qb_table_print *prints; /* one a table */
    struct qb_counts hosts;        /* the host clusters that are named */
    struct qb_hasher *hasher;      /* of one table, then of one window */
    uint8_t *scratch;              /* QB_SCRATCH_BYTES: two of the largest clusters */

    /* Guest clusters of the active layer: below real_end they are compared as they are, from there
     * to blank_end they will have to read zero, and `edge` is compared by its bytes. */
    uint64_t real_end, blank_end;
    uint64_t edge;

    struct qb_range zeros; /* new bytes of the file that were found to be zero */
    struct qb_range empty; /* guest bytes where the chain has nothing allocated, ... */
    uint64_t data_end;     /* ... and where the data ends that follow them */
};

#define QB_SCRATCH_BYTES ((uint64_t)4 << 20)

/* content_table.c: the table, as its bytes stand on disk, at this L1 index; NULL for none.  Notes
 * the host clusters that it names. */
int qb_content_table(struct qb_taking *t, const uint8_t *table, uint32_t l1_index, bool active,
                     struct qb_digest *out, struct qb_err *err);

/* content_edge.c: how many of the guest clusters from the guest byte guest.first on are alike in
 * that the chain has nothing allocated for them (*empty), or may show data.  At most n, at least 1.
 * What it shows from guest.end on, where the disk ends within a cluster, does not count. */
int qb_content_below(struct qb_taking *t, struct qb_range guest, uint64_t n, uint64_t *alike,
                     bool *empty, struct qb_err *err);

/* Whether zero clusters at or behind `guest` may be unallocated where the chain shows no data: an
 * amend makes such for the part by which the disk grows, and everywhere with `defers`. */
static inline bool qb_content_needs_proof(const struct qb_taking *t, uint64_t guest)
{
    const struct qb_content_rules *r = t->rules;
    bool grown =
        r->new_size > r->old_size && guest >= qb_round_up(r->old_size, t->img->geom.cluster_size);

    return r->below && (r->defers || grown);
}

/* Whether the guest cluster at guest.first reads zero up to guest.end when it is unallocated. */
int qb_content_zero_below(struct qb_taking *t, struct qb_range guest, bool *zero,
                          struct qb_err *err);

/* Whether the new cluster at this byte of the file holds nothing but zeros. */
int qb_content_new_is_zero(struct qb_taking *t, uint64_t offset, bool *zero, struct qb_err *err);

/* The digest of the cluster `edge`. */
int qb_content_edge(struct qb_taking *t, struct qb_err *err);

/* content_host.c: reads what t->hosts names into t->out->windows. */
int qb_content_hosts(struct qb_taking *t, struct qb_err *err);

#endif
