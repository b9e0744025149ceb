/* Records a run in a journal in the state directory, one file for each run.
 *
 *     planned     what is about to be done to an image; written before the first byte of it is.
 *                 Left out where that is one sector, which a later run may as well write again
 *     proof       with keep_undo: what the append wrote, for an undo to compare the image with.
 *                 Written after the append, and durable before the flip
 *     changed, unchanged, skipped, failed, interrupted     the result of the image
 *
 * The images themselves are authoritative.  With the journal a resumed run need not open images
 * that are done; it says whether an added size (+50G) was reached and what an interrupted run
 * appended, and holds what an undo needs. */
#ifndef QB_JOURNAL_RUN_JOURNAL_H
#define QB_JOURNAL_RUN_JOURNAL_H

#include "amend/amend.h"
#include "job/job.h"
#include "journal/seen.h"
#include "outcome/outcome.h"
#include "journal/state_dir.h"

struct qb_state {
    struct qb_journal journal;
    char id[QB_RUN_ID];
    bool undo;             /* some image keeps its undo, or must be rolled back */
    bool is_new;           /* this call of the program began it */
    bool must_last;        /* some image may not be amended twice: the end is synced too */
    size_t left_elsewhere; /* images of the run that are not in the batch and have no result */
    size_t open_elsewhere; /* images of the run that are not in the batch and not as requested */
    size_t ended;          /* images of the batch with a result, from this call or before */
    size_t done;           /* of these, those that a resume need not look at */
};

/* Begins a new run in `dir`, which exists.  Its name sorts after those of all runs there. -1 with
 * *err, and no file remains. */
int qb_state_begin(struct qb_state *s, const char *dir, const struct qb_batch *batch,
                   struct qb_err *err);

/* Forgets a run that could not start. */
void qb_state_drop(struct qb_state *s);

/* Whether some image of the batch is to be kept undoable. */
bool qb_state_keeps_undo(const struct qb_batch *batch);

/* Whether the record of the plan must be durable before the flip: the amend cannot simply be made
 * twice, or is to be undone. */
bool qb_state_must_record(const struct qb_request *rq);

/* Whether it must be durable even before the append: a raw disk gets longer by that, and only the
 * record has its length. */
bool qb_state_must_record_first(const struct qb_request *rq);
bool qb_state_must_record_some(const struct qb_batch *batch);

/* Records the plan of the amend, before it is carried out.  `step` of a rollout, from 1; 0: none.
 * `always`: also a plan of one sector, which may as well be written twice. */
void qb_state_planned(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                      const struct qb_amend *amend, unsigned step, bool always);

/* Records the proof of what the amend has appended, if an undo needs it; before the flip. */
void qb_state_appended(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                       const struct qb_amend *amend);

/* Records the result of an image, and the step of a rollout that drew it, from 1; 0: none. */
void qb_state_over(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_result *result, const struct qb_seen *seen, unsigned step);

/* Records the verdict on a step of a rollout, from 1. */
void qb_state_step(struct qb_state *s, const struct qb_rollout_sum *sum, unsigned step);

/* Counts a result that another process of the run has recorded (run/relay_run.h): what
 * qb_state_over and qb_state_passed_over count. */
void qb_state_count(struct qb_state *s, const struct qb_job *job, const struct qb_result *result);

/* Counts an image that an earlier call finished, or that a user undid. */
void qb_state_passed_over(struct qb_state *s);

/* Records the end of the run, and closes.  `sum` and `code` may be those of a part of the images,
 * for a run that is resumed.  Returns 0, or the errno of the journal's first failure. */
int qb_state_end(struct qb_state *s, const struct qb_batch *batch, const struct qb_summary *sum,
                 int code);

/* The time of day under a key. */
void qb_state_stamp(struct qb_journal *j, const char *key);

/* Adds caller, host and labels to the record that is being composed. */
void qb_state_origin(struct qb_journal *j, const struct qb_origin *origin);

/* The shard of a run, in its first record. */
void qb_state_shard_record(struct qb_journal *j, struct qb_shard shard);
struct qb_shard qb_state_shard_read(const struct qb_parsed *record);

/* ---- image_name.c, fingerprint.c
 * ---------------------------------------------------------------------------
 */

/* Looks up what qb_job_name needs, and gives each job the fingerprint of its request, by which a
 * later run recognises it.  False when memory is short. */
bool qb_state_prepare(struct qb_batch *batch);
void qb_asks_note(struct qb_batch *batch);

/* The name of an image in journals: absolute, and the same for every directory and name by which
 * the manifest is given.  Valid as long as `buf` and the job. */
const char *qb_job_name(const struct qb_batch *batch, const struct qb_job *job, char buf[PATH_MAX]);

#endif
