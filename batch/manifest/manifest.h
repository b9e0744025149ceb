/* A manifest becomes a batch.  See qbatch-manifest(5). */
#ifndef QB_MANIFEST_MANIFEST_H
#define QB_MANIFEST_MANIFEST_H

#include "util/diag.h"
#include "job/job.h"

/* Reads the manifest at `path` ("-": standard input, whose relative paths are the current
 * folder's), expands its patterns and looks each file up, but opens none.  0, or -1 with at least
 * one mistake in *diags and nothing in *out.  Either way the caller frees both (qb_batch_free,
 * qb_diags_free); both may be uninitialised before.  `asked_elsewhere`: an entry may leave it to
 * the command line what is to be amended. */
int qb_manifest_load(const char *path, bool asked_elsewhere, struct qb_batch *out,
                     struct qb_diags *diags);

#endif
