/* Declares what the parts of the layout share: layout.c (places everything that is appended),
 * layout_blocks.c (refcount blocks and table). */
#ifndef QB_PLAN_LAYOUT_H
#define QB_PLAN_LAYOUT_H

#include "plan/plan.h"

struct qb_layout {
    struct qb_io *io;
    struct qb_plan *plan;
    bool new_width;         /* all refcount blocks are written, in another width, or a raw disk's */
    uint64_t at;            /* next free byte of the appended stretch */
    uint64_t block_entries; /* in a block of the target's width */
    uint64_t base_cluster;
    size_t n_settled; /* the first ones of plan->blocks.list, whose old blocks were released */
    uint64_t n_blocks, reftable_clusters;
    unsigned round;
};

static inline uint64_t qb_layout_cluster_size(const struct qb_layout *l)
{
    return l->plan->in.img->geom.cluster_size;
}

/* Appends a step of `len` bytes (rounded up to clusters) whose clusters get the refcount `refs`. */
int qb_layout_add(struct qb_layout *l, struct qb_step step, uint64_t len, uint64_t refs,
                  struct qb_err *err);

/* layout_blocks.c, once everything but the blocks, their table and the new zeros is placed: finds
 * the refcount blocks that change, including those that describe the new blocks and the table, and
 * places them.  QB_E_REFUSED where a count does not fit the width. */
int qb_layout_find_blocks(struct qb_layout *l, struct qb_err *err);
int qb_layout_place_blocks(struct qb_layout *l, struct qb_err *err);
int qb_layout_check_width(const struct qb_layout *l, struct qb_err *err);

#endif
