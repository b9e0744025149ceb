/* What a dry run foresees for each file system: how much the amends need of it, and how much is
 * free. */
#ifndef QB_REPORT_FORECAST_H
#define QB_REPORT_FORECAST_H

#include <stdio.h>

#include "job/job.h"
#include "util/json.h"

struct qb_outlook {
    dev_t dev;
    char *folder;    /* owned: of the first image that is on it */
    uint64_t images; /* that would append something */
    uint64_t needed; /* bytes, at most */
    uint64_t grows;  /* bytes that files become longer */
    uint64_t free;   /* bytes that this user may take now */
    uint64_t keep;   /* bytes that policy.min_free wants to stay free */
};

struct qb_foresight {
    QB_VEC(struct qb_outlook) systems;
};

/* Adds an image of a dry run.  A memory shortage leaves it out. */
void qb_foresee(struct qb_foresight *f, const struct qb_batch *batch, const struct qb_job *job,
                const struct qb_result *result);
void qb_foresight_free(struct qb_foresight *f);

/* How long writing all that is needed takes at limits.rate, seconds; 0 without one.  It is an upper
 * bound for the writing, as `needed` is, and says nothing of what reading and barriers cost. */
double qb_foresight_rate_seconds(const struct qb_foresight *f, const struct qb_batch *batch);

/* A line for each file system, or "filesystems": [...]. */
void qb_foresight_print(const struct qb_foresight *f, double rate_seconds, FILE *out);
void qb_foresight_json(const struct qb_foresight *f, struct qb_json *o);

#endif
