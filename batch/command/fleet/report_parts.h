/* Reads the reports of earlier runs, and distinguishes the runs in them: a file may hold several,
 * and each run keeps its date, host, name and manifest. */
#ifndef QB_FLEET_REPORT_PARTS_H
#define QB_FLEET_REPORT_PARTS_H

#include "cli/cli.h"
#include "job/job.h"
#include "record/joined_shards.h"
#include "record/report_read.h"
#include "sink/sinks.h"

struct qb_report_file {
    const char *path;
    FILE *f;
    size_t first_part, parts; /* of its runs */
    bool torn;                /* it has nothing but the beginning of its first line */
};

/* A run, or the part of it in one file. */
struct qb_report_part {
    struct qb_read_run of;
    double seconds;
    uint64_t images;
    bool dry_run;
    bool closed;                    /* its summary has been read */
    struct qb_rollout_sum *rollout; /* of its summary; NULL: none */
    qb_orders orders;               /* of its summary */
};

struct qb_reports {
    struct qb_report_file *files;
    size_t n_files;
    QB_VEC(struct qb_report_part) parts;
    QB_VEC(struct qb_part) shown; /* the same parts, for output */
    QB_VEC(struct qb_joined_line) lines;
    struct qb_joined_shards shards;
    double began;          /* the first of the shards */
    struct qb_batch batch; /* a job for each image, in the order of the files */
    struct qb_summary sum;
    size_t part;   /* of the current line, in the second pass */
    uint64_t left; /* remaining images of it */
    unsigned complaints;
    bool cut; /* the current line has no end, as the last one of a run that was killed */
};

/* Checks every line of the files that the command line names, and fills `parts`, `shown` and the
 * batch; false after saying what is wrong. */
bool qb_reports_read(struct qb_reports *r, const struct qb_cli *cli);
void qb_reports_free(struct qb_reports *r);

/* Calls fn for each line of a file that is not empty; false when one could not be read. */
typedef bool qb_report_line_fn(struct qb_reports *r, struct qb_report_file *file, const char *text,
                               size_t len, size_t number);
bool qb_reports_each_line(struct qb_reports *r, struct qb_report_file *file, qb_report_line_fn *fn);

/* In the second pass: advances to the next image, whose part is r->part - 1 then. */
void qb_reports_next(struct qb_reports *r);

/* Of several runs: the batch gets the name that all shards have, else how many runs they are, and
 * the labels that each has with the same value.  false when memory is short. */
bool qb_reports_take_common(struct qb_reports *r);

/* Sets the rollout of `sum`: of several that of the run whose last step failed, else of one that
 * waits for an answer, unless a later run of the same shard is there. */
void qb_reports_judge(struct qb_reports *r);

/* What files of reports are told of all. */
struct qb_telling qb_reports_telling(const struct qb_reports *r);

#endif
