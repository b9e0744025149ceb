/* Clusters of data, and pieces of compressed data, that a plan moves to free places further down in
 * the file.  All tables that name such a cluster or piece are rewritten in the same plan, so each
 * moves once, however many layers share it. */
#ifndef QB_CONTENT_MOVES_H
#define QB_CONTENT_MOVES_H

#include <stdbool.h>

#include "check/counts.h"

/* What a compaction leaves, as moving it was found to gain nothing. */
enum qb_stays { QB_STAYS_NOTHING, QB_STAYS_PACKED /* compressed data */, QB_STAYS_ALL };

/* Clusters [first, end) that move: number `index` and so on of all that do. */
struct qb_moved_run {
    uint64_t first, end, index;
};

/* Where n of them go, from number `index` on. */
struct qb_moved_extent {
    uint64_t index, n, to; /* `to`: a cluster */
};

/* Compressed data of one guest cluster: whole sectors, but for the first bytes. */
struct qb_moved_piece {
    uint64_t offset;    /* first byte */
    uint64_t refs;      /* entries that name it, of all L1 entries */
    uint64_t to;        /* set by the layout: at the same byte of a sector */
    uint32_t available; /* bytes from there to the end of its last sector */
};

/* Pieces [first, end) go to n clusters from `to` on, in their order. */
struct qb_piece_extent {
    size_t first, end;
    uint64_t to, n;
};

struct qb_moves {
    uint64_t from; /* what lies at or after this cluster is to move; 0: nothing is */
    uint64_t n;    /* clusters of data that move */
    QB_VEC(struct qb_moved_run) runs;       /* ascending, apart */
    QB_VEC(struct qb_moved_extent) extents; /* set by the layout; ascending by index, gapless */
    QB_VEC(struct qb_moved_piece) pieces;   /* ascending by offset, then by length */
    QB_VEC(struct qb_piece_extent) packed;  /* set by the layout */
    struct qb_counts pinned;                /* clusters of compressed data */
    struct qb_counts bits;                  /* clusters of bitmaps' data that are to move */
    bool gains;                             /* set by the layout: the image ends before it did */
};

/* The number of the cluster among those that move, or UINT64_MAX. */
uint64_t qb_moves_index(const struct qb_moves *m, uint64_t cluster);

/* The cluster of this number. */
uint64_t qb_moves_from(const struct qb_moves *m, uint64_t index);

/* Where the cluster goes, once that is known; itself where it does not move. */
uint64_t qb_moves_to(const struct qb_moves *m, uint64_t cluster);

/* The piece, or NULL where it does not move. */
const struct qb_moved_piece *qb_moves_piece(const struct qb_moves *m, uint64_t offset,
                                            uint64_t available);

static inline bool qb_moves_any(const struct qb_moves *m)
{
    return m->n || m->pieces.n;
}

#endif
