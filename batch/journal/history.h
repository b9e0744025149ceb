/* What a journal tells of its run: the last that became of each image, in the order in which they
 * were first heard of. */
#ifndef QB_JOURNAL_HISTORY_H
#define QB_JOURNAL_HISTORY_H

#include "amend/proof.h"
#include "journal/run_journal.h"

struct qb_trace {
    char *path;
    uint32_t asks;      /* fingerprint of the request */
    uint32_t undo_asks; /* with has_undo: of the request that an undo takes back */
    bool planned;       /* something was about to be done to it... */
    bool appends;
    bool has_undo;    /* ... that can be undone: the record at `sectors_at` has the sectors */
    bool ended;       /* status, and what follows it, holds for the plan */
    bool uncertain;   /* planned, and no record tells whether that was carried out */
    bool reached;     /* what was planned last was carried out, and not undone */
    unsigned attempt; /* in which the last plan was made: 0, and one more with each resume */
    bool committed, verified;
    bool header_wrong; /* the header on disk was found to be neither the old nor the new one */
    bool undone, discarded;
    bool tail_left;         /* undone, but for the appended tail, which is still to be cut off */
    bool mistrusted;        /* the sectors come from a verification that failed */
    uint64_t discarding_at; /* byte of the journal: a discard was about to be made; 0: never */
    uint64_t proof_at;      /* byte of the journal: the plan's proof record; 0: there is none */
    enum qb_status status;
    enum qb_code code;
    char *message;           /* with a code */
    char *undone_at;         /* with `undone`; NULL: not told */
    uint64_t sectors_at;     /* byte of the journal */
    uint64_t length_before;  /* of the file, when it was planned */
    uint64_t virtual_size;   /* that was planned, where it matters */
    uint64_t size_added;     /* bytes of it, with `size: +N`; else 0 */
    uint64_t abandoned_from; /* see qb_job */
    struct qb_seen seen;     /* the file as it was left */
    struct qb_seen done;     /* the same, when it was left amended: the undo's measure */
};

struct qb_history {
    char id[QB_RUN_ID];
    char manifest_print[24];
    char *manifest, *name, *started, *ended_at; /* NULL: not told */
    char *folder, *typed;    /* the current folder and the command line of the run; likewise */
    struct qb_origin origin; /* of the run, as far as it is told */
    uint64_t images;
    uint64_t left;      /* with `ended`: images that came to no result */
    uint64_t to_finish; /* likewise: those that are not as requested, failed ones included */
    unsigned attempt;
    bool undo;       /* some image may be undone */
    bool begun;      /* its first record is there */
    bool ended;      /* the last that is known is its end */
    bool superseded; /* a later run took its work over */
    struct qb_journal_end end;
    QB_VEC(struct qb_trace) traces;
    uint32_t *slots; /* traces by path: 1 + index, or 0 */
    size_t n_slots;
};

/* Reads the whole journal of a run.  Free it in either case. */
int qb_history_read(const char *dir, const char *id, struct qb_history *h, struct qb_err *err);
void qb_history_free(struct qb_history *h);

/* The same while opening the journal for going on; see qb_journal_reopen. */
int qb_history_reopen(const char *dir, const char *id, struct qb_history *h, struct qb_journal *j,
                      struct qb_err *err);

struct qb_trace *qb_history_find(const struct qb_history *h, const char *path);

/* Whether a resume would have something to do. */
bool qb_history_is_unfinished(const struct qb_history *h);

/* Images with this result; those that were undone do not count. */
size_t qb_history_count(const struct qb_history *h, enum qb_status status);
size_t qb_history_count_undone(const struct qb_history *h);

/* Images that a resume has to amend, as far as the records tell. */
uint64_t qb_history_to_finish(const struct qb_history *h);

/* Whether a user took the image back.  One that failed first is to be amended all the same. */
static inline bool qb_trace_is_taken_back(const struct qb_trace *t)
{
    return t->undone && !(t->ended && t->status == QB_STATUS_FAILED);
}

/* Whether the image is not as requested, so that a resume has to amend it. */
bool qb_trace_is_left(const struct qb_trace *t);

/* Whether --retry-failed is about it: it failed, or was skipped because it was locked. */
bool qb_trace_has_failed(const struct qb_trace *t);
size_t qb_history_count_failed(const struct qb_history *h);

/* Whether some image could still be undone.  Of an image that the run did not come to the end with,
 * only its header can tell whether it was amended. */
bool qb_history_holds_undo(const struct qb_history *h);
static inline bool qb_trace_holds_undo(const struct qb_trace *t)
{
    bool may_be_amended = t->committed || !t->ended || t->status == QB_STATUS_FAILED ||
                          t->status == QB_STATUS_INTERRUPTED;

    return t->has_undo && may_be_amended && (!t->undone || t->tail_left) && !t->discarded;
}

/* The header, 512 bytes, that a discard of what was kept was about to write; zeros if none was. */
int qb_history_discarding(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                          uint8_t *sector, struct qb_err *err);

/* The proof record of a trace that has one. */
int qb_history_proof(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                     struct qb_proof *out, struct qb_err *err);

/* The two sectors of a trace that has them: 512 bytes each; and the fingerprint of the file that a
 * failed verification left (as_found.h), empty where there is none; `as_found` may be NULL. */
int qb_history_sectors(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                       uint8_t *old_sector, uint8_t *new_sector, struct qb_digest *as_found,
                       struct qb_err *err);

#endif
