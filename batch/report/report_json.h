/* Reports for programs, a line for each image: what --report and --json write, field by field. */
#ifndef QB_REPORT_REPORT_JSON_H
#define QB_REPORT_REPORT_JSON_H

#include <stdio.h>

#include "report/forecast.h"
#include "job/job.h"
#include "job/outcome.h"
#include "util/json.h"

/* Puts host, caller, command and labels into an object, null where they are not known. */
void qb_line_origin(struct qb_json *o, const struct qb_origin *origin);

/* Puts what was read and written into an object, under "io". */
void qb_line_io(struct qb_json *o, const struct qb_io_stats *stats);

/* Each writes one line to f; 0, or -1 with errno set. */

/* `tagged` puts "type":"image" in front, for a stream that holds more than images. */
int qb_line_image(FILE *f, const struct qb_batch *batch, const struct qb_job *job,
                  const struct qb_outcome *outcome, bool tagged);

/* `foresight` is told of a dry run; it may be NULL. */
int qb_line_summary(FILE *f, const struct qb_batch *batch, const struct qb_summary *sum,
                    const struct qb_foresight *foresight, int exit_code);

/* One summary of several runs, each of which is named in it. */
struct qb_part;
int qb_line_total(FILE *f, const struct qb_batch *batch, const struct qb_summary *sum,
                  const struct qb_part *parts, size_t n_parts, int exit_code);

/* "of" of an image's line: the run that it is of. */
struct qb_json qb_line_of(const struct qb_part *run);

/* The summary of a run that could not start. */
int qb_line_abort(FILE *f, const char *message, int exit_code);

/* Findings in the same words, at offsets that follow each other at the same distance. */
struct qb_finding {
    bool is_leak;
    uint64_t offset, last; /* the first and the last of them, or QB_NOWHERE */
    uint64_t n;
    char *text;
};

/* What a check found in one image. */
struct qb_checked {
    const char *path;
    bool counted; /* false: could not be checked, see err */
    const struct qb_check_result *result;
    struct qb_finding *findings; /* the first of them */
    size_t n_findings;
    uint64_t left_out; /* findings that were not kept */
};

int qb_line_checked(FILE *f, const struct qb_checked *checked);

struct qb_check_summary {
    uint64_t images, clean, corrupt, leaks, unchecked;
};

int qb_line_check_summary(FILE *f, const struct qb_check_summary *sum, int exit_code);

#endif
