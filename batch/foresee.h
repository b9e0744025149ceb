/* What a dry run foresees for each file system: how much the amends need of it, and how much is
 * free. */
#ifndef QB_BATCH_FORESEE_H
#define QB_BATCH_FORESEE_H

#include <stdio.h>

#include "batch/job.h"
#include "batch/json.h"

struct qb_outlook {
    dev_t dev;
    char *folder;            /* owned: of the first image that is on it */
    uint64_t images;         /* that would append something */
    uint64_t needed;         /* bytes, at most */
    uint64_t grows;          /* bytes that files become longer */
    uint64_t free;           /* bytes that this user may take now */
    uint64_t keep;           /* bytes that policy.min_free wants to stay free */
    double sync_seconds;     /* a page written to an unnamed file there, and synced; 0: not tried */
    double bytes_per_second; /* of a longer write, synced as well; likewise */
};

struct qb_foresight {
    QB_VEC(struct qb_outlook) systems;
};

/* Adds an image of a dry run.  A memory shortage leaves it out. */
void qb_foresee(struct qb_foresight *f, const struct qb_batch *batch, const struct qb_job *job,
                const struct qb_result *result);
void qb_foresight_free(struct qb_foresight *f);

/* How long the run would take, seconds: as long as the dry run took, plus what its writes and
 * barriers cost on the file systems, which is tried there on files without a name; no less than
 * limits.rate makes it.  Negative when that cannot be tried, or nothing would be written. */
double qb_foresight_seconds(struct qb_foresight *f, const struct qb_batch *batch,
                            double dry_run_seconds);

/* A line for each file system, or "filesystems": [...]. */
void qb_foresight_print(const struct qb_foresight *f, double expected_seconds, FILE *out);
void qb_foresight_json(const struct qb_foresight *f, struct qb_json *o);

/* Bytes that policy.min_free wants to stay free where so many are in all. */
uint64_t qb_min_free(const struct qb_policy *policy, uint64_t total);

#endif
