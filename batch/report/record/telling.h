/* What a report is told of a run, or of a check, as a whole. */
#ifndef QB_RECORD_TELLING_H
#define QB_RECORD_TELLING_H

#include "record/checked.h"
#include "record/forecast.h"
#include "job/job.h"
#include "outcome/outcome.h"

/* One of the runs that a report joins. */
struct qb_part {
    const char *name, *manifest, *run; /* may be NULL, as may `file` */
    const char *file;                  /* from which it was read */
    const struct qb_origin *origin;
    double seconds; /* how long it took */
    uint64_t images;
    bool dry_run;
    bool ended;                           /* the report has its summary */
    const struct qb_rollout_sum *rollout; /* NULL: it had no steps, or has no summary */
    const qb_orders *orders;              /* what people asked of it; NULL: not known */
};

struct qb_joined_shards;

/* The run, for a sink. */
struct qb_telling {
    const struct qb_batch *batch;
    const struct qb_summary *sum; /* the images so far; at the end all of them, and the time */
    const struct qb_foresight *foresight; /* of a dry run; NULL: none */
    int exit_code;                        /* at the end */
    const char *of; /* "of" of the run's lines, by qb_json_of_text; NULL: each makes its own */
    const struct qb_part *parts; /* the runs, where a report is shown; else NULL */
    size_t n_parts;
    size_t part;                           /* of the image */
    const struct qb_joined_shards *shards; /* of reports that are joined; NULL, or of = 0: none */
};

/* The check, at its end. */
struct qb_check_telling {
    const struct qb_batch *batch;
    const struct qb_check_summary *sum;
    int exit_code;
};

#endif
