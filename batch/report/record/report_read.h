/* Parses the lines of a report, as written by --report and --json, into results.
 *
 * Only fields that other reports show are read; those that only a program would take from the line
 * itself (the counts of clusters, the hints) are not. */
#ifndef QB_RECORD_REPORT_READ_H
#define QB_RECORD_REPORT_READ_H

#include <stdbool.h>
#include <sys/types.h>

#include "job/origin.h"
#include "outcome/outcome.h"

enum qb_read_kind { QB_READ_IMAGE, QB_READ_SUMMARY };

/* The run to which a line belongs, as far as the line names it. */
struct qb_read_run {
    bool told; /* the line names it */
    char *run, *name, *manifest;
    struct qb_origin origin;
};

/* One of the runs that a summary of several lists. */
struct qb_read_part {
    struct qb_read_run of;
    bool ended;                     /* the report had its summary */
    struct qb_rollout_sum *rollout; /* NULL: none */
    qb_orders orders;
};

struct qb_read_line {
    enum qb_read_kind kind;
    bool tagged; /* the line names its kind */
    char *path;  /* of an image */
    dev_t dev;   /* its file; ino 0: unknown */
    ino_t ino;
    struct qb_outcome outcome;
    bool owner_need_not_read; /* of an image: its run had policy.owner_must_read: off */
    struct qb_read_run of;
    double seconds; /* of a summary: the run's; 0: unknown */
    bool dry_run;   /* of a summary */
    bool is_total;  /* a summary of several runs, which the images' lines distinguish */
    struct qb_rollout_sum *rollout;    /* of a summary; NULL: none */
    qb_orders orders;                  /* of a summary */
    QB_VEC(struct qb_read_part) parts; /* with is_total */
};

/* NULL when the text is such a line, then the caller frees *out; else what is wrong with it. */
const char *qb_line_read(const char *text, size_t len, struct qb_read_line *out);
struct qb_parsed;
const char *qb_image_read(const struct qb_parsed *o, struct qb_read_line *out); /* of an object */
void qb_line_free(struct qb_read_line *line);
void qb_run_read(const struct qb_parsed *o, struct qb_read_run *run); /* of a summary, or of "of" */
void qb_read_run_free(struct qb_read_run *run);

#endif
