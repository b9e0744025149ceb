/* Declares what the two halves of looking at an image for a new size share: resize.c looks at
 * tables and backing files, resize_tail.c at the last cluster. */
#ifndef QB_RULES_RESIZE_PARTS_H
#define QB_RULES_RESIZE_PARTS_H

#include "rules/resize.h"

struct qb_resizing {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_chain *chain; /* where the disk grows */
    struct qb_chain *below; /* where the entry of a last cluster that is copied can have no
                               subclusters: for those that are unallocated; NULL: they read zero */
    bool standard;          /* ... in the target */
    struct qb_active_l1 *l1;
    uint64_t memory_limit;
    bool raw;                          /* the target has a raw data file */
    uint64_t old_size, new_size, kept; /* bytes; kept is the smaller */
};

/* Sets what concerns the last cluster of what stays, if only a part of it does: past the end it
 * must read zero, now and when the disk grows again. */
int qb_resize_tail(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err);

#endif
