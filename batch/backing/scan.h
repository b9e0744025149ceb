/* `graph: {scan: [...]}` of a manifest: folders in which images may lie that stand on those of the
 * manifest.  A folder means every regular file below it, hidden ones included; a pattern means the
 * files it matches.  Which of them are images is for their first bytes to say. */
#ifndef QB_BACKING_SCAN_H
#define QB_BACKING_SCAN_H

#include "job/job.h"

typedef QB_VEC(char *) qb_paths;

/* The files that batch->scan names, sorted within each of its lines; appended to *paths.  What
 * could not be looked at is appended to *unknown, a sentence each.  -1 when memory is short. */
int qb_scan_files(const struct qb_batch *batch, bool (*stopped)(void), qb_paths *paths,
                  qb_paths *unknown);
void qb_paths_free(qb_paths *paths);

#endif
