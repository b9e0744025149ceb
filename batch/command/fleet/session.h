/* Decides whether a run is recorded, where, and which earlier run it resumes. */
#ifndef QB_FLEET_SESSION_H
#define QB_FLEET_SESSION_H

#include "cli/cli.h"
#include "journal/runs.h"

struct qb_keep {
    bool kept; /* there is a journal: state is open */
    struct qb_state state;
    char dir[PATH_MAX];
    char notice[500]; /* a line for a person, or "" */
    char lost[400];   /* what can no longer be relied on after a failure of the journal */
    char *finish;     /* owned: with a refusal, the command that finishes an earlier run; or NULL */
};

/* Decides by the command line and the batch.  A new run gets a new journal, a resumed run its own:
 * then images that are done are marked in the batch, images that are not requested are removed from
 * it, and what earlier runs began on the others is taken into account. -1 with *err when the
 * requested journal is not available; nothing was touched. */
int qb_keep_open(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                 struct qb_err *err);

/* To be called when nothing else can prevent the run: a new run takes over the work of unfinished
 * ones of its manifest. */
void qb_keep_begin(struct qb_keep *keep, struct qb_batch *batch);

/* Drops the record: the run could not start. */
void qb_keep_drop(struct qb_keep *keep);

/* Records the run's end, and removes journals that are not needed any more.  A failure of the
 * journal, now or before, is set in the summary. */
void qb_keep_end(struct qb_keep *keep, const struct qb_batch *batch, struct qb_summary *sum,
                 int code);

/* Names a run of this user on which another process is working: if images were locked, it probably
 * holds them. false: there is none, or no state directory. */
bool qb_keep_find_other(const struct qb_cli *cli, const struct qb_keep *keep, char *text,
                        size_t size);

/* ---- resume.c ---------------------------------------------------------------------------------
 */

/* Applies the results of an earlier run to the batch.  Images that were undone stay as they are
 * unless `redo`. */
void qb_resume_apply(const struct qb_keep *keep, struct qb_batch *batch, const struct qb_history *h,
                     bool redo);

/* Notes how far an earlier run came with its rollout. */
void qb_resume_roll(struct qb_batch *batch, const struct qb_history *h);

/* Leaves only those images in the batch that failed in it, or were locked. */
void qb_resume_failed_only(struct qb_batch *batch, const struct qb_history *h);

/* Counts the images of the run that are not in the batch. */
void qb_resume_count_elsewhere(const struct qb_batch *batch, const struct qb_history *h,
                               struct qb_state *s);

/* Refuses a new run that would add to the size of images to which an unfinished run of the same
 * manifest, or one that was undone in part, has added already. */
int qb_resume_check_added(struct qb_keep *keep, const struct qb_batch *batch, struct qb_err *err);

/* Takes over from runs of the same manifest that left something: what they appended and did not use
 * is noted in the batch and in the new run's journal, which then is the one to resume.  Notes the
 * newest that did not come to its end. */
void qb_resume_supersede(struct qb_keep *keep, struct qb_batch *batch);

#endif
