/* An earlier run, and a batch of images of it: what undo and `backup restore` work with. */
#ifndef QB_FLEET_EARLIER_H
#define QB_FLEET_EARLIER_H

#include <limits.h>

#include "cli/cli.h"
#include "job/job.h"
#include "journal/history.h"
#include "undoing/undo_run.h"

struct qb_earlier {
    char dir[PATH_MAX]; /* the state directory */
    struct qb_history history;
    struct qb_journal journal;      /* open and locked */
    struct qb_batch batch;          /* has the run's name, and the origin of this command */
    const struct qb_trace **traces; /* one a job */
    bool *added;                    /* one a trace of the history: it is a job */
    char lost[250];                 /* what no longer holds; see qb_summary */
};

/* Begins with the run that `word` names, and no image.  Close it in either case. */
int qb_earlier_open(struct qb_earlier *e, const struct qb_cli *cli, const char *word,
                    struct qb_err *err);
void qb_earlier_close(struct qb_earlier *e);

/* Adds an image, once. */
int qb_earlier_add(struct qb_earlier *e, const struct qb_trace *t, struct qb_err *err);

/* The image that a word names: as the run named it, or by any name of the same file; QB_E_NOT_FOUND
 * where the run has none. */
const struct qb_trace *qb_earlier_find(const struct qb_earlier *e, const char *word,
                                       struct qb_err *err);

/* Carries out `fn` on the images, and reports as a run does; returns the exit code.  `lost` says
 * what no longer holds if the records of it cannot be made durable: a resume is to leave these
 * images as they are. */
typedef int qb_takeback_fn(const struct qb_takeback *t, const struct qb_listener *listener,
                           struct qb_err *err);
int qb_earlier_work(struct qb_earlier *e, const struct qb_cli *cli, qb_takeback_fn *fn,
                    const char *lost);

#endif
