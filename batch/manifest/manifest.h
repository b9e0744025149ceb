/* Loads a manifest into a batch.  See qbatch-manifest(5). */
#ifndef QB_MANIFEST_MANIFEST_H
#define QB_MANIFEST_MANIFEST_H

#include "util/diag.h"
#include "job/job.h"

/* Reads the manifest at `path` ("-": standard input, with relative paths in the current directory),
 * expands its patterns and looks each file up; only files of `chain` are opened.  0, or -1 with at
 * least one mistake in *diags and nothing in *out.  In any case the caller frees both
 * (qb_batch_free, qb_diags_free); both may be uninitialised before.  `asked_elsewhere`: the command
 * line may contain the request, so that an entry needs none. */
int qb_manifest_load(const char *path, bool asked_elsewhere, struct qb_batch *out,
                     struct qb_diags *diags);

#endif
