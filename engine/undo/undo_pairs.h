/* Declares which L2 tables of an image's two headers map the same part of a layer. */
#ifndef QB_UNDO_UNDO_PAIRS_H
#define QB_UNDO_UNDO_PAIRS_H

#include "undo/undo_prove.h"

/* The part of a layer that an L2 table covers, or, where one header has extended L2 entries and the
 * other has not, half of a standard table.  VM state begins with the first L1 entry past the disk's
 * end, which the reach of an entry decides: it is counted from there. */
struct qb_piece {
    bool is_state;   /* VM state, not the disk */
    uint64_t number; /* of equal pieces, from the disk's start or from that of the VM state */
};

/* Where one header has a piece's entries; offset 0: nowhere, all are unallocated. */
struct qb_part {
    uint64_t offset; /* of the L2 table in the file, bytes */
    uint64_t first;  /* entry of the table */
};

struct qb_pair {
    struct qb_part old, now;
    struct qb_piece piece;
    bool active; /* of the active layer */
};

typedef QB_VEC(struct qb_pair) qb_pairs;

/* Entries of a piece. */
static inline uint64_t qb_piece_entries(const struct qb_proving *p)
{
    return QB_MIN(p->old.geom.l2_entries, p->now.geom.l2_entries);
}

/* Lists the pairs of all layers, each once, without those that are one table under both headers.
 * QB_E_CHANGED where the amended image has a snapshot that the old one has not.  The caller frees
 * the list in any case. */
int qb_undo_pair_tables(struct qb_proving *p, qb_pairs *out);

#endif
