/* Describes the origin of a run: the host, the caller, the command line, and the manifest's labels.
 * Every report and the journal contain it, so that each number can be related to its run. */
#ifndef QB_JOB_ORIGIN_H
#define QB_JOB_ORIGIN_H

#include <stdbool.h>

#include "base/vec.h"

struct qb_label {
    char *key, *value;
};

enum { QB_LABELS_MAX = 32, QB_LABEL_BYTES_MAX = 256 /* of a value */ };

/* The part of a fleet that a run amends: the `number`th of `of`; see shard/shard.h. */
struct qb_shard {
    unsigned number; /* counted from 1 */
    unsigned of;     /* 0: the run has all images of its manifest */
};

struct qb_origin {
    char *host;     /* owned, like all members that point; NULL: not known */
    char *caller;   /* "root", "root (sudo: alice)" */
    char *command;  /* the command line, quoted for a shell */
    double started; /* seconds since 1970; 0: not known */
    QB_VEC(struct qb_label) labels;
    struct qb_shard shard;
};

bool qb_origin_add_label(struct qb_origin *origin, const char *key, const char *value);
void qb_origin_free(struct qb_origin *origin);

#endif
