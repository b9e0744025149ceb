/* Records where a run let the files lie that images name, so that its undo opens no others. */
#ifndef QB_JOURNAL_RUN_ROOTS_H
#define QB_JOURNAL_RUN_ROOTS_H

#include "base/vec.h"
#include "job/job.h"
#include "journal/journal.h"

struct qb_run_roots {
    QB_VEC(char *) paths; /* absolute; owned */
    bool one_file_system;
};

/* Into the open record. */
void qb_run_roots_record(struct qb_journal *j, const struct qb_policy *policy);

/* Journals of earlier versions have none.  -1 when memory is short, or a root is missing; free
 * *roots in either case. */
int qb_run_roots_read(const struct qb_parsed *record, struct qb_run_roots *roots,
                      struct qb_err *err);
void qb_run_roots_free(struct qb_run_roots *roots);

/* Makes them the policy's, which borrows them. */
void qb_run_roots_apply(const struct qb_run_roots *roots, struct qb_policy *policy);

#endif
