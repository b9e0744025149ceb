/* Finds the runs of a state directory, and removes those that are not needed any more. */
#ifndef QB_JOURNAL_RUNS_H
#define QB_JOURNAL_RUNS_H

#include "journal/history.h"

/* A summary of a run, from the two ends of its journal, or from all of it if the last record is
 * neither its end nor a tally (qb_runs_tally). */
struct qb_glance {
    struct qb_run_id id;
    bool held;       /* a process works on it now */
    bool undo;       /* it has kept something for an undo */
    bool backup;     /* it has made clones of images */
    bool unfinished; /* work remains for a resume */
    bool ended;      /* it has ended, and each image has a result */
    bool superseded; /* a later run has taken over its work */
    bool is_readable;
    bool lost;     /* not readable: a power cut came before the first record was on the disk */
    bool from_all; /* the whole journal was read */
    bool tallied;  /* the last record is a tally; the next two hold with either of these */
    bool holds_undo, names_clones;
    uint64_t images, failed;
    uint64_t counts[QB_STATUS_COUNT]; /* images of each status; undone ones are not among them */
    uint64_t to_finish;               /* images that a resume has to amend */
    struct qb_shard shard;            /* of = 0: all images of the manifest */
    uint64_t undone;                  /* images that were undone */
    char *manifest, *started;         /* owned; NULL: not told */
};

/* Whether its last record, which is all that is read, says that no later run has to know of it:
 * each image has a result, none failed and none was undone; or another run has taken it over. */
bool qb_runs_is_settled(const char *dir, struct qb_run_id id);

int qb_glance_at(const char *dir, struct qb_run_id id, struct qb_glance *g);
void qb_glance_free(struct qb_glance *g);

/* The same where the run is of this manifest and has images of the batch; if not, false, for which
 * the first record is enough.  Of a journal that cannot be read g->is_readable is false. */
bool qb_glance_at_own(const char *dir, struct qb_run_id id, const struct qb_batch *batch,
                      const char *manifest, struct qb_glance *g);

/* Appends to the journal of a run that nobody works on what reading all of it tells, so that later
 * glances need not: journals are kept for long, and each new run looks at all of them.  What is
 * appended after it (by an undo, a resume) makes it void.  A failure is not told: nothing depends
 * on it. */
void qb_runs_tally(const char *dir, struct qb_run_id id);
void qb_tally_put(struct qb_journal *j, const struct qb_history *h); /* to one that is open */

/* Which runs are searched for. */
enum qb_runs_with {
    QB_RUNS_UNFINISHED, /* work remains */
    QB_RUNS_FAILED,     /* images failed or were locked */
    QB_RUNS_UNDONE,     /* work remains, or images were undone */
};

/* The run to resume, by its journal, which is opened and locked: the one that `word` means, or the
 * newest such one of the batch's manifest.  QB_E_NOT_FOUND where there is none. */
int qb_runs_reopen(const char *dir, const char *word, enum qb_runs_with with,
                   const struct qb_batch *batch, struct qb_history *h, struct qb_journal *j,
                   struct qb_err *err);

/* The path by which runs of a manifest are known; "" on the command line. */
void qb_runs_manifest(const struct qb_batch *batch, char out[PATH_MAX]);

/* Whether the run is one of this manifest that has images which the batch has, too. */
bool qb_glance_concerns(const struct qb_glance *g, const struct qb_batch *batch,
                        const char *manifest);

/* Whether a process is working on the run of this manifest, also after a short wait: the kernel
 * keeps the files of a killed program open until its requests in a ring are done. */
bool qb_runs_is_busy(const char *dir, struct qb_run_id id, const char *manifest);

/* Removes the journals of old runs: keeps the newest QB_RUNS_KEPT, and any that is unfinished, in
 * use, or still holds what an undo needs or the name of a clone that is there. */
void qb_runs_prune(const char *dir);

#endif
