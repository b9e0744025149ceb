/* Parses the lines of a report, as written by --report and --json, into results.
 *
 * Only fields that other reports show are read; those that only a program would take from the line
 * itself (the counts of clusters, the hints) are not. */
#ifndef QB_RECORD_REPORT_READ_H
#define QB_RECORD_REPORT_READ_H

#include <stdbool.h>

#include "job/origin.h"
#include "job/outcome.h"

enum qb_read_kind { QB_READ_IMAGE, QB_READ_SUMMARY };

/* The run to which a line belongs, as far as the line names it. */
struct qb_read_run {
    bool told; /* the line names it */
    char *run, *name, *manifest;
    struct qb_origin origin;
};

struct qb_read_line {
    enum qb_read_kind kind;
    bool tagged; /* the line names its kind */
    char *path;  /* of an image */
    struct qb_outcome outcome;
    bool owner_need_not_read; /* of an image: its run had policy.owner_must_read: off */
    struct qb_read_run of;
    double seconds; /* of a summary: the run's; 0: unknown */
    bool dry_run;   /* of a summary */
    bool is_total;  /* a summary of several runs, which the images' lines distinguish */
};

/* NULL when the text is such a line, then the caller frees *out; else what is wrong with it. */
const char *qb_line_read(const char *text, size_t len, struct qb_read_line *out);
void qb_line_free(struct qb_read_line *line);
void qb_read_run_free(struct qb_read_run *run);

#endif
