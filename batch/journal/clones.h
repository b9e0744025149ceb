/* Records the clones of `backup: reflink`, and reads these records.
 *
 *     cloned      a clone was made, and its name, identity and owner; before the image's flip
 *     undone      with "by":"restore": the clone took the image's place; "amended" is where the
 *                 amended image is since, and the identity is that file's
 *     clone_stays a later attempt goes on with the image, of which a guest may have written between
 *                 the attempts what the clone does not have
 *     pruned      the clone was removed; with "file":"amended": that file */
#ifndef QB_JOURNAL_CLONES_H
#define QB_JOURNAL_CLONES_H

#include "journal/seen.h"

struct qb_batch;
struct qb_history;
struct qb_job;
struct qb_state;

/* A file beside an image that a run or a restore left. */
struct qb_clone {
    char *path; /* owned; NULL: there is none, or it was not recorded */
    char *at;   /* owned: when it was made; NULL: not recorded */
    struct qb_seen seen;
    uint64_t uid, gid;
    bool pruned;
};

struct qb_clones {
    struct qb_clone before;  /* the image before the amend */
    struct qb_clone amended; /* the amended image, after a restore */
    bool unnamed;            /* a clone was made, and its name and identity were not recorded */
    bool restored;           /* the clone is the image now */
    bool behind;             /* `before` may lack what was written between attempts of the run */
};

void qb_clones_free(struct qb_clones *c);

/* Takes in a record of the image; others are passed over.  `is` is its kind. */
void qb_clones_note(struct qb_clones *c, const struct qb_parsed *record, const char *is);

/* Whether a file that was recorded may still be there; the run's journal is needed then. */
bool qb_clones_hold(const struct qb_clones *c);

/* ---- writing --------------------------------------------------------------------------------- */

/* That the clone with this stat was made of the job's image. */
void qb_clones_made(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                    const struct stat *clone);

void qb_clones_stay(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job);

/* That the image, by its name in the journal, is the clone again, and the amended image is at
 * `amended`; NULL: at no place that is known. */
void qb_clones_restored(struct qb_journal *j, const char *image, const char *amended,
                        const struct stat *st);

void qb_clones_pruned(struct qb_journal *j, const char *image, bool amended);

#endif
