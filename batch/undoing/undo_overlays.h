/* Finds overlays that stay amended while an image below them is undone.
 *
 * Whatever else a run amends of an image, its overlays show the same before and after.  But with
 * another backing file, or none, the user alone vouches for the content.  An overlay that grew
 * after that has no table of zeros where nothing showed below it, and would show what the old
 * backing file has there.  A converted image is a raw disk again. */
#ifndef QB_UNDOING_UNDO_OVERLAYS_H
#define QB_UNDOING_UNDO_OVERLAYS_H

#include "undoing/undo_run.h"

/* For each job the path of an image of the run above it, that the run changed and that is not
 * undone with it; or NULL.  *out is NULL where all that the run changed is undone.  -1 when memory
 * is short. To be called between the loops of the sched. */
int qb_undo_overlays_find(const struct qb_takeback *t, struct qb_sched *sched, const char ***out,
                          struct qb_err *err);

/* Whether overlays may show something else once the image is undone. */
bool qb_undo_shows(const struct qb_result *result);

#endif
