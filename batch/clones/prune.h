/* Removes the clones of a run, one at a time.  Only a file is removed that the journal names, that
 * is still as it was left, that nobody uses, and whose image is there. */
#ifndef QB_CLONES_PRUNE_H
#define QB_CLONES_PRUNE_H

#include "opener/in_use.h"
#include "journal/history.h"

struct qb_pruned {
    bool removed;       /* of a dry run: it would be */
    bool nothing_there; /* nothing was left to remove */
    bool bytes_known;
    uint64_t bytes; /* that this frees: those that no other file shares */
};

/* Whether `backup prune` may remove clones of this run: 0, or -1 with QB_E_REFUSED if a run of it
 * could still need them. */
int qb_prune_permit(const struct qb_history *h, struct qb_err *err);

/* Removes the file, one of the two of t->clones, of an image of the run; not with `dry_run`.  A
 * file that has another name than runs and restores give is refused: a process that read images
 * wrote the journal, and one of them might have taken it over.  The directory is not synced: a file
 * that a power cut brings back is removed the next time.  -1 with *err: the file stays. */
int qb_prune_one(struct qb_io *io, const struct qb_history *run, const struct qb_trace *t,
                 const struct qb_clone *c, struct qb_claim how, bool dry_run, struct qb_pruned *out,
                 struct qb_err *err);

#endif
