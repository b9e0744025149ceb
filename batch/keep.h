/* Whether a run is remembered, where, and which earlier one it goes on with. */
#ifndef QB_BATCH_KEEP_H
#define QB_BATCH_KEEP_H

#include "batch/cli.h"
#include "batch/runs.h"

struct qb_keep {
    bool kept; /* there is a journal: state is open */
    struct qb_state state;
    char dir[PATH_MAX];
    char notice[500]; /* a line for a person, or "" */
};

/* Decides by the command line and the batch.  A new run gets a journal, a run that is gone on with
 * its own: then images that are done are marked in the batch, images that are not asked for leave
 * it, and what earlier runs began on the others is taken into account.  -1 with *err, and nothing
 * was touched: what was asked for cannot be had. */
int qb_keep_open(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                 struct qb_err *err);

/* To be called once nothing else can keep the run from starting: a new run takes over from
 * unfinished ones of its manifest. */
void qb_keep_begin(struct qb_keep *keep, struct qb_batch *batch);

/* Forgets it all: the run could not start. */
void qb_keep_drop(struct qb_keep *keep);

/* Notes the run's end, and removes journals that nobody needs any more. */
void qb_keep_end(struct qb_keep *keep, const struct qb_batch *batch, const struct qb_summary *sum,
                 int code);

/* ---- resume.c ---------------------------------------------------------------------------------
 */

/* Applies to the batch what became of its images in an earlier run. */
void qb_resume_apply(struct qb_batch *batch, const struct qb_history *h);

/* Leaves only those images in the batch that failed in it. */
void qb_resume_failed_only(struct qb_batch *batch, const struct qb_history *h);

/* Takes over from unfinished runs of the same manifest: what they appended and did not use is
 * noted in the batch and in the new run's journal, which then is the one to go on with.  Tells of
 * the newest of them. */
void qb_resume_supersede(struct qb_keep *keep, struct qb_batch *batch);

#endif
