/* The report for people: a row for each image as its turn comes, then one line that sums up.
 *
 * A small batch is shown whole.  Of a large one every failure and every skipped image is shown, the
 * first changes (and the first that were not started), and how many more there were. */
#ifndef QB_REPORT_TABLE_H
#define QB_REPORT_TABLE_H

#include <stdio.h>

#include "job/job.h"
#include "job/outcome.h"

struct qb_table {
    const struct qb_batch *batch;
    FILE *out;    /* rows and recap */
    FILE *errors; /* failures of a quiet run */
    bool quiet;   /* failures only */
    bool verbose; /* every row, and the plan in words */
    bool diff;    /* each change as two lines */
    bool color;
    size_t path_width;               /* columns */
    uint64_t shown[QB_STATUS_COUNT]; /* rows of those that may be very many */
    uint64_t left_out[QB_STATUS_COUNT];
    bool undoable;   /* some image was changed that `qbatch undo` can take back */
    unsigned hinted; /* bits of enum qb_code: a hint is given once */
};

/* Looks at the batch for the widths; `color` is decided with qb_table_wants_color. */
void qb_table_start(struct qb_table *table, const struct qb_batch *batch);
void qb_table_row(struct qb_table *table, const struct qb_job *job,
                  const struct qb_outcome *outcome);
void qb_table_end(struct qb_table *table, const struct qb_summary *sum);

/* An image that was amended and is not what it should be: told on `errors` in any case, and once
 * more at the end. */
void qb_table_alarm(struct qb_table *table, const struct qb_job *job,
                    const struct qb_result *result);
void qb_table_alarm_end(struct qb_table *table, const struct qb_summary *sum);

/* The changes as the table words them: "size: 1 GiB -> 2 GiB, ..."; "" for none.  Cut where `size`
 * ends. */
const char *qb_table_changes(const struct qb_result *result, char *out, size_t size);

/* Whether colors are welcome on f: a terminal, no NO_COLOR, no TERM=dumb. */
bool qb_table_wants_color(FILE *f);

#endif
