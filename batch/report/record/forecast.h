/* Forecasts for a dry run how much space the amends need on each file system, and how much is free.
 */
#ifndef QB_RECORD_FORECAST_H
#define QB_RECORD_FORECAST_H

#include <stdio.h>

#include "job/job.h"
#include "util/json.h"

struct qb_outlook {
    dev_t dev;
    char *folder;    /* owned: directory of the first image on it */
    uint64_t images; /* that would append something */
    uint64_t needed; /* bytes, at most */
    uint64_t grows;  /* bytes by which files grow */
    uint64_t free;   /* bytes that are available to this user */
    uint64_t keep;   /* bytes that policy.min_free reserves */
};

struct qb_foresight {
    QB_VEC(struct qb_outlook) systems;
};

/* Adds an image of a dry run.  A memory shortage leaves it out. */
void qb_foresee(struct qb_foresight *f, const struct qb_batch *batch, const struct qb_job *job,
                const struct qb_result *result);
void qb_foresight_free(struct qb_foresight *f);

/* Seconds for writing everything that is needed at limits.rate; 0 without a limit.  An upper bound
 * for the writing, as `needed` is; reading and barriers are not included. */
double qb_foresight_rate_seconds(const struct qb_foresight *f, const struct qb_batch *batch);

/* A line for each file system, or "filesystems": [...]. */
void qb_foresight_print(const struct qb_foresight *f, double rate_seconds, FILE *out);
void qb_foresight_json(const struct qb_foresight *f, struct qb_json *o);

#endif
