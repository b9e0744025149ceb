/* What an amend with keep_undo records for its undo: where it wrote what only the amended image
 * refers to, and fingerprints of those bytes.  They are computed from what the amend writes, or for
 * the old header has read, anyway. */
#ifndef QB_PLAN_PROOF_H
#define QB_PLAN_PROOF_H

#include "check/digest.h"

struct qb_proof {
    bool valid;
    uint64_t base, zero_base, end; /* of the file, bytes: new metadata in [base, zero_base), new
                                      clusters of zeros up to end; all 0: only the header changed */
    struct qb_digest stretch;      /* of [base, zero_base) */
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
};

#endif
