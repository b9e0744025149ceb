/* Declares what the parts of the layout share: layout.c (places everything that is appended),
 * layout_place.c (gives it clusters), layout_blocks.c (refcount blocks and table). */
#ifndef QB_PLAN_LAYOUT_H
#define QB_PLAN_LAYOUT_H

#include "plan/plan.h"
#include "plan/room.h"

struct qb_layout {
    struct qb_io *io;
    struct qb_plan *plan;
    bool new_width;         /* all refcount blocks are written, in another width, or a raw disk's */
    struct qb_room room;    /* free clusters inside the old image, which are used first */
    uint64_t at;            /* next free byte past the old image's end */
    uint64_t block_entries; /* in a block of the target's width */
    uint64_t base_cluster;
    size_t n_settled; /* the first ones of plan->blocks.list, whose old blocks were released */
    uint64_t n_blocks, reftable_clusters;
    uint64_t end_cluster; /* past all that is appended, as the last round had it */
    unsigned round;
};

static inline uint64_t qb_layout_cluster_size(const struct qb_layout *l)
{
    return l->plan->in.img->geom.cluster_size;
}

/* ---- layout_place.c -------------------------------------------------------------------------- */

/* Opens the room inside the old image, where the plan may use it. */
void qb_layout_open_room(struct qb_layout *l);

/* Gives a step of `len` bytes (rounded up to clusters) its clusters, which lie in a row and get the
 * refcount `refs`; *offset is where they begin. */
int qb_layout_add(struct qb_layout *l, struct qb_step step, uint64_t len, uint64_t refs,
                  uint64_t *offset, struct qb_err *err);

/* The two halves of that. */
int qb_layout_place(struct qb_layout *l, struct qb_step step, uint64_t len, uint64_t *offset,
                    struct qb_err *err);
int qb_layout_count(struct qb_layout *l, uint64_t first, uint64_t n, uint64_t refs,
                    struct qb_err *err);

/* Gives the new clusters of zeros their places, and their refcounts. */
int qb_layout_add_zeros(struct qb_layout *l, struct qb_err *err);

/* Takes `want` clusters in a row, or fewer: *n from *first on. */
int qb_layout_take_some(struct qb_layout *l, uint64_t want, uint64_t *first, uint64_t *n,
                        struct qb_err *err);

/* Takes n clusters that stay free. */
int qb_layout_skip(struct qb_layout *l, uint64_t n, struct qb_err *err);

/* Touches the refcount blocks that describe l->n_blocks blocks, the table and the new zeros, where
 * these would be placed now, and sets l->end_cluster.  Takes nothing. */
int qb_layout_try(struct qb_layout *l, struct qb_err *err);

/* Notes where everything lies, once it does. */
int qb_layout_note_places(struct qb_layout *l, struct qb_err *err);

/* ---- layout_pieces.c: places the compressed data that moves, and counts it where it goes. */
int qb_layout_place_pieces(struct qb_layout *l, struct qb_err *err);

/* ---- layout_blocks.c ------------------------------------------------------------------------- */

/* Once everything but the blocks, their table and the new zeros is placed: finds the refcount
 * blocks that change, including those that describe the new blocks and the table, and places them.
 *  QB_E_REFUSED where a count does not fit the width. */
int qb_layout_find_blocks(struct qb_layout *l, struct qb_err *err);
int qb_layout_place_blocks(struct qb_layout *l, struct qb_err *err);
int qb_layout_check_width(const struct qb_layout *l, struct qb_err *err);

#endif
