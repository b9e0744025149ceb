/* A progress bar on the terminal, drawn a few times a second by a thread of its own, so that the
 * workers only ever count.  It says 100% never: when everything is done it is gone. */
#ifndef QB_BATCH_PROGRESS_H
#define QB_BATCH_PROGRESS_H

#include "batch/run.h"

struct qb_progress; /* NULL where nothing is drawn: every call takes that */

/* Starts to draw what the meter says of `total` images to stderr; NULL when that is no terminal. */
struct qb_progress *qb_progress_start(const struct qb_meter *meter, size_t total);

/* Between these two the bar is away and others may write to the terminal. */
void qb_progress_hide(struct qb_progress *progress);
void qb_progress_show(struct qb_progress *progress);

void qb_progress_stop(struct qb_progress *progress); /* erases the bar, frees */

/* The line as it would be drawn in `columns` columns after `seconds`; for tests too. */
void qb_progress_line(char *out, size_t size, unsigned columns, const struct qb_meter *meter,
                      size_t total, double seconds);

#endif
