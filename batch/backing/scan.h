/* Finds the files of `graph: {scan: [...]}` of a manifest: directories that may contain overlays of
 * its images.  A directory selects every regular file below it, including hidden ones; a pattern
 * selects the files it matches.  Images are recognised by their first bytes. */
#ifndef QB_BACKING_SCAN_H
#define QB_BACKING_SCAN_H

#include "io/io.h"
#include "job/job.h"

typedef QB_VEC(char *) qb_paths;

/* The files that batch->scan names, sorted within each of its lines, and directories below it that
 * cannot be looked into; appended to *paths.  What of its lines themselves could not be read is
 * appended to *unknown, a sentence each.  Where files are opened by another
 * process, that looks for them (scan_errand.h).  -1 when memory is short. */
int qb_scan_files(const struct qb_batch *batch, struct qb_io *io, bool (*stopped)(void),
                  qb_paths *paths, qb_paths *unknown);
int qb_scan_here(const struct qb_batch *batch, struct qb_stopper stop, qb_paths *paths,
                 qb_paths *unknown);
int qb_paths_add(qb_paths *paths, char *path); /* takes it over; -1 also where it is NULL */
void qb_paths_free(qb_paths *paths);

#endif
