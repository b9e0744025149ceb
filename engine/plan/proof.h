/* What an amend with keep_undo records for its undo: where it wrote what only the amended image
 * refers to, and fingerprints of those bytes.  They are computed from what the amend writes, or for
 * the old header has read, anyway. */
#ifndef QB_PLAN_PROOF_H
#define QB_PLAN_PROOF_H

#include "base/err.h"
#include "base/ranges.h"
#include "base/vec.h"
#include "base/digest.h"

struct qb_proof {
    bool valid;
    /* Of the file, bytes: new metadata in [base, zero_base), new clusters of zeros up to end; all
     * 0: only the header changed. */
    uint64_t base, zero_base, end;
    /* Where new clusters lie inside the old image, too: all metadata, as `stretch` has its bytes
     * one after the other, and all new zeros, ascending.  Else empty. */
    struct qb_ranges written, zeroed;
    struct qb_ranges sorted;    /* `written`, ascending: set by qb_proof_sort */
    struct qb_digest stretch;   /* of the metadata */
    uint64_t name_at, name_len; /* a backing name past the header's sector; 0: none was written */
    struct qb_digest name;
    bool cuts_cluster;     /* a shrink ends the disk within a cluster ... */
    uint64_t last_entry;   /* ... whose L2 entry in the old image is this, without COPIED, ... */
    uint64_t last_bitmap;  /* ... and, with extended L2 entries, these subclusters */
    uint64_t head_len;     /* length of the old header with its extensions and name, bytes, if it
                              exceeds the sector; else 0 */
    struct qb_digest head; /* of [512, head_len) */
    bool mended;           /* the old image's refcounts or flags were wrong, and were mended */
    uint64_t dev, ino;     /* of the file */
    bool is_device;        /* a block device: dev and ino are those of its node */
};

enum { QB_PROOF_RANGES = 8192 }; /* at most, in each list */

void qb_proof_free(struct qb_proof *p);

/* A copy that has lists of its own: 0 or -1. */
int qb_proof_copy(const struct qb_proof *p, struct qb_proof *out, struct qb_err *err);

/* Fills `sorted`, once `written` is complete: 0 or -1.  QB_E_CORRUPT when the lists are not what an
 * amend records. */
int qb_proof_sort(struct qb_proof *p, struct qb_err *err);

/* Whether this byte of the file lies in metadata, or in new zeros, that the amend appended. */
bool qb_proof_is_new(const struct qb_proof *p, uint64_t offset);
bool qb_proof_is_zeros(const struct qb_proof *p, uint64_t offset);

/* Whether the amend appended more than a backing name: each image has tables of its own. */
static inline bool qb_proof_rewrites(const struct qb_proof *p)
{
    return p->end != 0;
}

#endif
