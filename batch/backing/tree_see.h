/* Looks at one open file for tree.h: what its header says. */
#ifndef QB_BACKING_TREE_SEE_H
#define QB_BACKING_TREE_SEE_H

#include "backing/deadly.h"
#include "backing/tree.h"

/* Fills `kind` of the member and what depends on it.  `alone`: no other thread reads a header. */
void qb_member_see(struct qb_member *m, struct qb_deadly *deadly, bool alone, struct qb_io *io,
                   struct qb_file *file);

/* That it is missing, or cannot be read, and why. */
void qb_member_fail(struct qb_member *m, const struct qb_err *err);

#endif
