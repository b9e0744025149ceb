/* Prints the report for people: a row for each image in the manifest's order, then a summary line.
 *
 * A small batch is shown completely.  Of a large one, equal results are one line at the end: their
 * count and the first names.  A note is shown once for the run, and images that `when` leaves out
 * are only counted. */
#ifndef QB_TEXT_TABLE_H
#define QB_TEXT_TABLE_H

#include <stdio.h>

#include "job/job.h"
#include "outcome/outcome.h"
#include "record/groups.h"
#include "record/notes.h"

struct qb_table {
    const struct qb_batch *batch;
    FILE *out;    /* rows and recap */
    FILE *errors; /* failures of a quiet run */
    bool quiet;   /* failures only */
    bool verbose; /* every row, its notes, and the plan */
    bool all_rows;
    bool diff; /* each change as two lines */
    bool color;
    size_t path_width; /* columns */
    bool by_row;       /* set by qb_table_start: nothing is grouped */
    struct qb_groups groups;
    struct qb_notes notes;
    FILE *scratch; /* owned, as its text: where the text of a group is made */
    char *scratch_text;
    size_t scratch_len;
    bool incomplete; /* memory was short for some images */
    bool undoable;   /* some image was changed that `qbatch undo` can undo */
    uint64_t hinted; /* bits of enum qb_code: a hint is given once */
};

/* Computes the widths from the batch; `color` is decided with qb_table_wants_color. */
void qb_table_start(struct qb_table *table, const struct qb_batch *batch);
void qb_table_row(struct qb_table *table, const struct qb_job *job,
                  const struct qb_outcome *outcome);
void qb_table_end(struct qb_table *table, const struct qb_summary *sum);

/* table_protections.c: the protections that the run did without, and with `verbose` its sandbox. */
void qb_table_protections(const struct qb_table *table, const struct qb_summary *sum);

/* An image that was amended and failed verification: always reported on `errors`, and again at the
 * end. */
void qb_table_alarm(struct qb_table *table, const struct qb_job *job,
                    const struct qb_result *result);
void qb_table_alarm_end(struct qb_table *table, const struct qb_summary *sum);

/* Whether rows are colored on f, by --color; with auto on a terminal, unless NO_COLOR or TERM=dumb
 * is set. */
enum qb_color { QB_COLOR_AUTO, QB_COLOR_ALWAYS, QB_COLOR_NEVER };
bool qb_table_wants_color(FILE *f, enum qb_color color);

/* ---- for table*.c only ----------------------------------------------------------------------- */

void qb_table_error(FILE *f, const struct qb_failure *err); /* "code: text at 0x30000" */
void qb_table_state(const struct qb_table *table, FILE *f); /* " --state DIR", if it is needed */

#endif
