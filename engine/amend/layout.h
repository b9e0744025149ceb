/* Between the parts of the layout: layout.c (the stretch, in its order), layout_blocks.c (refcount
 * blocks and table). */
#ifndef QB_AMEND_LAYOUT_H
#define QB_AMEND_LAYOUT_H

#include "amend/plan.h"

struct qb_layout {
    struct qb_io *io;
    struct qb_plan *plan;
    bool new_width;         /* no refcount block stays */
    uint64_t at;            /* next free byte of the stretch */
    uint64_t block_entries; /* in a block of the target's width */
    uint64_t base_cluster;
    uint8_t *freed;   /* old blocks that were given back already */
    size_t n_settled; /* of plan->blocks.list: those whose old blocks were looked at */
    uint64_t n_blocks, reftable_clusters;
    unsigned round;
};

static inline uint64_t qb_layout_cluster_size(const struct qb_layout *l)
{
    return l->plan->in.img->geom.cluster_size;
}

/* Appends a step of `len` bytes (rounded up to clusters) whose clusters are counted `refs` times.
 */
int qb_layout_add(struct qb_layout *l, struct qb_step step, uint64_t len, uint64_t refs,
                  struct qb_err *err);

/* layout_blocks.c, when everything but these and the new zeros has its place: finds the refcount
 * blocks that change with all that is placed, themselves and the table included, and places them.
 * QB_E_REFUSED where a count does not fit. */
int qb_layout_find_blocks(struct qb_layout *l, struct qb_err *err);
int qb_layout_place_blocks(struct qb_layout *l, struct qb_err *err);
int qb_layout_check_width(const struct qb_layout *l, struct qb_err *err);

#endif
