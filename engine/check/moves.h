/* Clusters of data that a plan moves to free places further down in the file.  All tables that name
 * such a cluster are rewritten in the same plan, so each moves once, however many layers share it.
 */
#ifndef QB_CHECK_MOVES_H
#define QB_CHECK_MOVES_H

#include <stdbool.h>

#include "check/counts.h"

/* Clusters [first, end) that move: number `index` and so on of all that do. */
struct qb_moved_run {
    uint64_t first, end, index;
};

/* Where n of them go, from number `index` on. */
struct qb_moved_extent {
    uint64_t index, n, to; /* `to`: a cluster */
};

struct qb_moves {
    uint64_t from; /* what lies at or after this cluster is to move; 0: nothing is */
    uint64_t n;    /* clusters of data that move */
    QB_VEC(struct qb_moved_run) runs;       /* ascending, apart */
    QB_VEC(struct qb_moved_extent) extents; /* set by the layout; ascending by index, gapless */
    struct qb_counts pinned;                /* clusters of compressed data, which stay */
    bool gains;                             /* set by the layout: the image ends before it did */
};

/* The number of the cluster among those that move, or UINT64_MAX. */
uint64_t qb_moves_index(const struct qb_moves *m, uint64_t cluster);

/* The cluster of this number. */
uint64_t qb_moves_from(const struct qb_moves *m, uint64_t index);

/* Where the cluster goes, once that is known; itself where it does not move. */
uint64_t qb_moves_to(const struct qb_moves *m, uint64_t cluster);

#endif
