/* Shows the progress of a run, in a thread of its own, so that the workers only count: a line on
 * the terminal, drawn a few times a second, with lines below it for images that take long; or JSON
 * on standard error; and a status for systemd.  The line never shows 100 %; it is erased when the
 * run ends. */
#ifndef QB_TEXT_PROGRESS_H
#define QB_TEXT_PROGRESS_H

#include <stdio.h>

#include "job/job.h"
#include "outcome/meter.h"

struct qb_progress; /* NULL if nothing is shown: every call accepts that */

/* Starts to show the meter of the batch's images. */
struct qb_progress *qb_progress_start(enum qb_watching how, const struct qb_meter *meter,
                                      const struct qb_batch *batch);

/* Between these two the line is erased and others may write to the terminal. */
void qb_progress_hide(struct qb_progress *progress);
void qb_progress_show(struct qb_progress *progress);

void qb_progress_stop(struct qb_progress *progress); /* erases the line, frees */

/* ---- progress_text.c --------------------------------------------------------------------------
 */

struct qb_elapsed {
    double seconds; /* since the run began */
    double working; /* see qb_meter_working */
};

/* The line as it would be drawn in `columns` columns; for tests too. */
void qb_progress_line(char *out, size_t size, unsigned columns, const struct qb_meter *meter,
                      size_t total, struct qb_elapsed elapsed);

/* The line for slot i of meter->busy; false if it has no image that takes long. */
bool qb_progress_slow(char *out, size_t size, unsigned columns, const struct qb_meter *meter,
                      const struct qb_batch *batch, size_t i);

/* The status for systemd; returns its length, below 200. */
size_t qb_progress_status(char *out, size_t size, const struct qb_meter *meter, size_t total,
                          struct qb_elapsed elapsed);

void qb_progress_json(FILE *f, const struct qb_meter *meter, size_t total,
                      struct qb_elapsed elapsed);

#endif
