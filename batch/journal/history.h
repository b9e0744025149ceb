/* Reads the history of a run from its journal: the last state of each image, in the order of their
 * first records. */
#ifndef QB_JOURNAL_HISTORY_H
#define QB_JOURNAL_HISTORY_H

#include "plan/proof.h"
#include "base/index.h"
#include "journal/run_roots.h"
#include "journal/clones.h"
#include "journal/run_journal.h"

struct qb_trace {
    char *path;
    uint32_t asks;      /* fingerprint of the request */
    uint32_t undo_asks; /* with has_undo: of the request that an undo reverts */
    bool planned;       /* a change was planned ... */
    bool appends;
    bool has_undo;  /* ... that can be undone: the record at `sectors_at` has the sectors */
    bool ended;     /* status, and what follows it, holds for the plan */
    bool uncertain; /* planned, and no record says whether that was carried out */
    bool reached;   /* the last plan was carried out, and not undone */
    unsigned
        attempt; /* number of the attempt that made the last plan: 0, plus one for each resume */
    bool committed, verified;
    bool header_wrong; /* the header on disk was found to be neither the old nor the new one */
    bool undone, discarded;
    bool tail_left;  /* undone, except that the appended tail is still to be cut off */
    bool mistrusted; /* the sectors come from a verification that failed */
    bool undoing;    /* an undo of it was about to write: the modification time may be of that */
    uint64_t discarding_at; /* byte of the journal: a discard was planned; 0: never */
    uint64_t proof_at;      /* byte of the journal: the plan's proof record; 0: there is none */
    uint64_t header_at;     /* byte of the journal: the plan of a conversion; 0: it is none */
    enum qb_status status;
    enum qb_code code;
    char *message;           /* with a code */
    char *undone_at;         /* with `undone`; NULL: not recorded */
    uint64_t sectors_at;     /* byte of the journal */
    uint64_t length_before;  /* of the file, when it was planned */
    uint64_t appended_from;  /* by earlier attempts, which came to nothing; 0: nothing */
    uint64_t virtual_size;   /* as planned, if it matters */
    uint64_t size_added;     /* bytes of it, with `size: +N`; else 0 */
    uint64_t abandoned_from; /* see qb_job */
    bool cuts_data;          /* likewise */
    unsigned
        step; /* of the rollout that last planned to change it, or changed it, from 1; 0: none */
    struct qb_seen seen;     /* the file after the last call */
    struct qb_seen done;     /* the file after the amend: the undo compares with it */
    struct qb_clones clones; /* of `backup: reflink` */
};

struct qb_history {
    char id[QB_RUN_ID];
    char manifest_print[24];
    char *manifest, *name, *started, *ended_at; /* NULL: not recorded */
    char *folder,
        *typed; /* the current directory and the command line of the run; NULL: not recorded */
    struct qb_origin origin; /* of the run, as far as recorded */
    struct qb_run_roots roots;
    uint64_t ages_from; /* see qb_batch; 0: not recorded */
    uint64_t images;
    uint64_t left;      /* with `ended`: images without a result */
    uint64_t to_finish; /* with `ended`: images that are not as requested, including failed ones */
    unsigned attempt;
    unsigned steps_passed; /* of a rollout, that no undo took an image from */
    unsigned steps;        /* of the rollout, if one of them was judged; else 0 */
    unsigned asked;        /* the step, from 1, that passed but for an answer; 0: none */
    unsigned step_failed;  /* the step, from 1, that did not pass in the last attempt; 0: none */
    char *step_why;        /* what that failed for; NULL: not recorded */
    bool undo;             /* some image may be undone */
    bool backup;           /* clones were made of images before they were amended */
    bool begun;            /* the journal has its first record */
    bool ended;            /* the last record is the run's end */
    bool superseded;       /* a later run has taken over its work */
    qb_orders orders;      /* what people asked of it by qbatch ctl, in all attempts */
    struct qb_journal_end end;
    QB_VEC(struct qb_trace) traces;
    struct qb_index by_path; /* of the traces */
    int fd;                  /* of the journal while it is open (qb_history_reopen); else -1 */
};

/* Reads the whole journal of a run.  Free it in either case. */
int qb_history_read(const char *dir, const char *id, struct qb_history *h, struct qb_err *err);
void qb_history_free(struct qb_history *h);

/* Like qb_history_read, while opening the journal to continue it; see qb_journal_reopen. */
int qb_history_reopen(const char *dir, const char *id, struct qb_history *h, struct qb_journal *j,
                      struct qb_err *err);

struct qb_trace *qb_history_find(const struct qb_history *h, const char *path);

/* Whether work remains for a resume. */
bool qb_history_is_unfinished(const struct qb_history *h);

/* The number of images with this result, without those that were undone. */
size_t qb_history_count(const struct qb_history *h, enum qb_status status);
size_t qb_history_count_undone(const struct qb_history *h);

/* Whether the run has changed the image, as far as recorded, and nobody undid that. */
bool qb_trace_is_changed(const struct qb_trace *t);

/* The number of images that a resume has to amend, according to the records. */
uint64_t qb_history_to_finish(const struct qb_history *h);

/* Whether a user undid the image.  An image that failed before must be amended all the same. */
static inline bool qb_trace_is_taken_back(const struct qb_trace *t)
{
    return t->undone && !(t->ended && t->status == QB_STATUS_FAILED);
}

/* Whether the image is not as requested, so that a resume has to amend it. */
bool qb_trace_is_left(const struct qb_trace *t);

/* Whether --retry-failed includes it: it failed, or was skipped because it was locked. */
bool qb_trace_has_failed(const struct qb_trace *t);
size_t qb_history_count_failed(const struct qb_history *h);

/* Whether some image could still be undone.  For an image without a recorded result, only its
 * header shows whether it was amended. */
bool qb_history_holds_undo(const struct qb_history *h);
static inline bool qb_trace_holds_undo(const struct qb_trace *t)
{
    bool may_be_amended = t->committed || !t->ended || t->status == QB_STATUS_FAILED ||
                          t->status == QB_STATUS_INTERRUPTED;

    return t->has_undo && may_be_amended && (!t->undone || t->tail_left) && !t->discarded;
}

/* The header sector, 512 bytes, that the last plan was to make of a raw disk. */
int qb_history_header(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                      uint8_t *sector, struct qb_err *err);

/* The header sector, 512 bytes, that a discard had planned to write; zeros if there was none. */
int qb_history_discarding(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                          uint8_t *sector, struct qb_err *err);

/* The proof record of a trace that has one; to be freed with qb_proof_free, in any case. */
int qb_history_proof(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                     struct qb_proof *out, struct qb_err *err);

/* The two sectors of a trace that has them: 512 bytes each; and the fingerprint of the file after a
 * failed verification (as_found.h), empty if there is none; `as_found` may be NULL. */
int qb_history_sectors(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                       uint8_t *old_sector, uint8_t *new_sector, struct qb_digest *as_found,
                       struct qb_err *err);

#endif
