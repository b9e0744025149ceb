/* Loads a manifest into a batch.  See qbatch-manifest(5). */
#ifndef QB_MANIFEST_MANIFEST_H
#define QB_MANIFEST_MANIFEST_H

#include "util/diag.h"
#include "job/job.h"

/* What the command line has that matters while a manifest is read. */
struct qb_typed {
    bool keys;                 /* it may contain the request, so that an entry needs none */
    struct qb_name_list roots; /* instead of policy.roots; n = 0: none; outlives the batch */
};

/* Reads the manifest at `path` ("-": standard input, with relative paths in the current directory),
 * expands its patterns and looks each file up; only files of `chain` are opened.  0, or -1 with at
 * least one mistake in *diags and nothing in *out.  In any case the caller frees both
 * (qb_batch_free, qb_diags_free); both may be uninitialised before.  `typed` may be NULL. */
int qb_manifest_load(const char *path, const struct qb_typed *typed, struct qb_batch *out,
                     struct qb_diags *diags);

/* Reads the limits of the manifest of a run in progress again, as far as that has become no other
 * manifest.  -1 with *err: it cannot be read, has a mistake, or differs in what err->text names. */
struct qb_manifest_limits {
    struct qb_limits limits;
    char print[24]; /* as qb_batch.manifest_print */
};
int qb_manifest_reload(const struct qb_batch *was, struct qb_manifest_limits *out,
                       struct qb_err *err);

#endif
