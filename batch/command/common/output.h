/* Writes the output of a run: files (sinks.h), JSON or a table on standard output, the progress
 * bar.  All of them get the same results, in the order of the images. */
#ifndef QB_COMMON_OUTPUT_H
#define QB_COMMON_OUTPUT_H

#include "cli/cli.h"
#include "host/confining.h"
#include "record/forecast.h"
#include "text/progress.h"
#include "run/run.h"
#include "sink/sinks.h"
#include "text/table.h"

struct qb_output {
    const struct qb_batch *batch;
    struct qb_sinks sinks; /* the files */
    bool json;
    struct qb_table table;
    struct qb_summary sum;
    struct qb_meter *meter;        /* in memory that another process of the run may share */
    struct qb_foresight foresight; /* of a dry run */
    struct qb_progress *progress;
    double started;
    const struct qb_cli *cli;
    QB_VEC(size_t) left;            /* jobs that remain to be finished, in their order */
    bool left_unknown;              /* memory was short for some */
    bool can_finish;                /* running again may help for some of them */
    char *finish;                   /* owned: the command for them */
    char *of;                       /* owned: see qb_json_of_text */
    bool hidden;                    /* the progress bar is hidden, while rows are printed */
    int stdout_errno;               /* the first failure to write there */
    struct qb_confining *confining; /* of this process; NULL: it stays as it is */
};

/* Opens the files before anything else happens.  An existing one is replaced only by one of its
 * kind: neither the manifest nor an image.  -1 after one line on standard error. */
int qb_output_open(struct qb_output *out, const struct qb_cli *cli, const struct qb_batch *batch);

/* The stream of the table: standard output, or standard error if a report uses that (--report -).
 */
FILE *qb_output_for_people(const struct qb_cli *cli);

/* Opens the files of reports that the command line names; see qb_sinks_open. */
int qb_output_open_sinks(struct qb_sinks *sinks, const struct qb_cli *cli,
                         const struct qb_batch *batch);

/* Offers what the output does at its end, for a process that is confined by then. */
void qb_output_offer(struct qb_output *out, struct qb_confining *confining);

/* The listener that passes results to the output. */
struct qb_listener qb_output_listener(struct qb_output *out);

/* Ends the output with the summary where one belongs; returns the exit code of the run. */
int qb_output_close(struct qb_output *out, bool detailed);

/* Closes without a summary of images: the run could not start.  Says why; returns the exit code. */
int qb_output_abort(struct qb_output *out, const char *why);

/* Flushes and checks standard output; `code`, or 1 instead of 0 when something did not get out.  A
 * reader that went away is not an error. */
int qb_stdout_end(int code);

#endif
