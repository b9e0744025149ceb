/* Declares what the parts of the content fingerprint share: content.c (layers, comparison),
 * content_table.c (one L2 table), content_edge.c and content_bytes.c (single clusters),
 * content_packed.c (compressed ones), content_host.c (host bytes). */
#ifndef QB_CONTENT_CONTENT_PARTS_H
#define QB_CONTENT_CONTENT_PARTS_H

#include "content/content.h"
#include "check/counts.h"
#include "content/inflate.h"
#include "io/ahead.h"
#include "image/tables.h"

#define QB_NO_CLUSTER UINT64_MAX

/* The digests of one L2 table; empty where nothing of it is compared. */
struct qb_table_print {
    struct qb_digest whole;  /* for snapshots */
    struct qb_digest active; /* for the active layer, up to the end of what is compared of it */
    bool seen;               /* false: it lies in a hole, and is treated like no table */
};

struct qb_taking {
    struct qb_io *io;
    const struct qb_image *img;
    const struct qb_content_rules *rules;
    struct qb_file *host; /* that holds the guest's clusters: the image, or its data file */
    struct qb_content *out;
    struct qb_tables tables;
    uint64_t unit;    /* guest clusters: a table's, or half of them, see qb_content_rules */
    unsigned n_units; /* in a table */
    struct qb_table_print *prints; /* one for each unit of each table */
    struct qb_counts hosts;        /* the host clusters that are named */
    struct qb_hasher *hasher;      /* of one table, then of one window */
    uint8_t *scratch;              /* QB_SCRATCH_BYTES: two of the largest clusters */
    struct qb_ahead ahead;         /* content_bytes.c */
    uint8_t *cluster;              /* content_bytes.c; owned */
    struct qb_inflater *inflater;  /* content_packed.c; owned, NULL before the first use */

    /* Guest clusters of the active layer: below real_end they are compared as they are, from there
     * to blank_end they will have to read zero, and `edge` is compared by its bytes. */
    uint64_t real_end, blank_end;
    uint64_t edge;

    struct qb_range zeros; /* new bytes of the file that were found to be zero */
    struct qb_range empty; /* guest bytes where the chain has nothing allocated, ... */
    uint64_t data_end;     /* ... and where the data ends that follow them */
};

#define QB_SCRATCH_BYTES ((uint64_t)4 << 20)

/* content_table.c: the entries of one unit, as they lie on disk, from this guest cluster on; NULL
 * for none.  Notes the host clusters that they name. */
int qb_content_unit(struct qb_taking *t, const uint8_t *entries, uint64_t first, bool active,
                    struct qb_digest *out, struct qb_err *err);

/* content_edge.c: of n guest clusters from guest byte guest.first on, the number (at least 1) for
 * which alike the chain has nothing allocated (*empty), or may show data.  What it shows from
 * guest.end on, where the disk ends within a cluster, is ignored. */
int qb_content_below(struct qb_taking *t, struct qb_range guest, uint64_t n, uint64_t *alike,
                     bool *empty, struct qb_err *err);

/* Whether zero clusters at or after `guest` may be unallocated where the chain shows no data: an
 * amend leaves such clusters in the part by which the disk grows, and everywhere with `defers`. */
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

/* Whether the cluster at this byte of the file, a new one as a rule, holds nothing but zeros, up to
 * byte `limit` of the file, where the disk may end. */
int qb_content_new_is_zero(struct qb_taking *t, uint64_t offset, uint64_t limit, bool *zero,
                           struct qb_err *err);

/* content_bytes.c: the digest of what the guest reads at `guest`, the first byte of the cluster of
 * this entry, which is not compressed. */
int qb_content_bytes(struct qb_taking *t, uint64_t guest, uint64_t entry, uint64_t bitmap,
                     struct qb_digest *out, bool *zero, struct qb_err *err);

/* content_packed.c: whether a compressed cluster is compared by what the guest reads there. */
bool qb_content_is_inflated(const struct qb_taking *t, uint64_t entry);

/* The digest of that, of entry i of the table.  Such clusters are decompressed together with those
 * that follow them in their table. */
int qb_content_packed_bytes(struct qb_taking *t, const uint8_t *table, uint64_t i,
                            struct qb_digest *out, bool *zero, struct qb_err *err);

/* A place in the image that its old version does not use. */
bool qb_content_is_new(const struct qb_content_rules *rules, uint64_t offset);

/* The digest of the cluster `edge`. */
int qb_content_edge(struct qb_taking *t, struct qb_err *err);

/* content_host.c: reads what t->hosts names into t->out->windows. */
int qb_content_hosts(struct qb_taking *t, struct qb_err *err);

#endif
