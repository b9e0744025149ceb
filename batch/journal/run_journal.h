/* What a run remembers of itself: a journal in the state folder, one file for each run.
 *
 *     planned     what is about to be done to an image; written before the first byte of it is.
 *                 Left out where that is one sector, which a later run may as well write again
 *     proof       with keep_undo: what the append wrote, for an undo to compare the image with.
 *                 Written after the append, and durable before the flip
 *     changed, unchanged, skipped, failed, interrupted     what became of it
 *
 * The images themselves are the truth.  The journal saves a resumed run the look at images that are
 * done, tells an added size (+50G) that was reached from one that was not, names what an
 * interrupted run appended, and holds what an undo needs. */
#ifndef QB_JOURNAL_RUN_JOURNAL_H
#define QB_JOURNAL_RUN_JOURNAL_H

#include "amend/amend.h"
#include "job/job.h"
#include "journal/journal.h"
#include "job/outcome.h"
#include "journal/state_dir.h"

struct qb_state {
    struct qb_journal journal;
    char id[QB_RUN_ID];
    bool undo;             /* some image keeps what it was, or has to be put back */
    bool is_new;           /* this call of the program began it */
    bool must_last;        /* some image may not be amended twice: the end is synced too */
    size_t left_elsewhere; /* images of the run that are not in the batch and came to no result */
    size_t open_elsewhere; /* likewise, those that are not as requested */
    size_t ended;          /* images of the batch that came to a result, in this call or before */
    size_t done;           /* of these, those that a resume need not look at */
};

/* What a file is, seen while its locks are held: enough to see later that nobody wrote it since. */
struct qb_seen {
    bool valid; /* false: not looked at, or a device, which keeps no such account */
    uint64_t dev, ino, length, mtime_ns;
    struct qb_digest as_found; /* of all its bytes (as_found.h), after a verification that failed */
};

struct qb_seen qb_seen_of(int fd);
struct qb_seen qb_seen_at(const char *path);

/* Begins a new run in `dir`, which exists.  Its name sorts after those of all runs there.  -1 with
 * *err, and no file is left. */
int qb_state_begin(struct qb_state *s, const char *dir, const struct qb_batch *batch,
                   struct qb_err *err);

/* Forgets a run that could not start. */
void qb_state_drop(struct qb_state *s);

/* Whether some image of the batch is to be kept undoable. */
bool qb_state_keeps_undo(const struct qb_batch *batch);

/* Whether the record of the plan must be durable before the flip: the amend cannot simply be made
 * twice, or is to be undone. */
bool qb_state_must_record(const struct qb_request *rq);
bool qb_state_must_record_some(const struct qb_batch *batch);

/* Notes that the amend, which has a plan, is about to be carried out. */
void qb_state_planned(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                      const struct qb_amend *amend);

/* Notes what the amend has appended, if an undo will need to know; its flip is yet to come. */
void qb_state_appended(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                       const struct qb_amend *amend);

/* Notes what became of an image. */
void qb_state_over(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_result *result, const struct qb_seen *seen);

/* Notes an image that an earlier call of the program dealt with, or that a user took back. */
void qb_state_passed_over(struct qb_state *s);

/* Notes that the run came to its end, and closes.  `sum` and `code` may be those of a part of the
 * images, for a run that is resumed.  Returns 0, or the errno of the journal's first failure. */
int qb_state_end(struct qb_state *s, const struct qb_batch *batch, const struct qb_summary *sum,
                 int code);

/* The time of day under a key. */
void qb_state_stamp(struct qb_journal *j, const char *key);

/* Who calls, from where, with which labels: into the record that is being composed. */
void qb_state_origin(struct qb_journal *j, const struct qb_origin *origin);

/* ---- image_name.c, fingerprint.c
 * ---------------------------------------------------------------------------
 */

/* Looks up what qb_job_name needs, and gives each job the fingerprint of its request, by which a
 * later run knows it again.  False when memory is short. */
bool qb_state_prepare(struct qb_batch *batch);
void qb_asks_note(struct qb_batch *batch);

/* The name by which journals know an image: from the root on, and the same from whatever folder the
 * manifest is given and by whatever name of its own.  Lives as long as `buf` and the job do. */
const char *qb_job_name(const struct qb_batch *batch, const struct qb_job *job, char buf[PATH_MAX]);

#endif
