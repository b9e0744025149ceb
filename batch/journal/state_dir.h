/* The state folder: where it is, and the journals in it, one file "RUN.journal" a run.  A run's
 * name is the time it began at and a number.  Names sort by age, also within one second and where
 * the clock was set back: a new name follows the greatest one of the folder.
 *
 * The folder belongs to the effective user, nobody else can write to it, and no folder above it
 * lets everybody rename what is in it; any other is refused. */
#ifndef QB_JOURNAL_STATE_DIR_H
#define QB_JOURNAL_STATE_DIR_H

#include <limits.h>

#include "base/err.h"
#include "base/vec.h"

enum {
    QB_RUN_ID = 32,    /* room for a run's name */
    QB_RUNS_KEPT = 50, /* of those that nobody needs any more */
    QB_JOURNAL_PATH = PATH_MAX + QB_RUN_ID + 16,
};

struct qb_run_id {
    char text[QB_RUN_ID];
};

typedef QB_VEC(struct qb_run_id) qb_run_ids;

/* Chooses the folder: `wanted` (NULL: nobody said one), else systemd's $STATE_DIRECTORY, else
 * /var/lib/qbatch for root and $XDG_STATE_HOME/qbatch or ~/.local/state/qbatch for others.  -1 when
 * there is none to be had. */
int qb_state_dir_find(const char *wanted, char out[PATH_MAX], struct qb_err *err);

/* Makes the folder and those above it, readable by nobody else, unless it is there. */
int qb_state_dir_make(const char *dir, struct qb_err *err);

/* Makes durable which files the folder has: that of a new file's bytes does not cover its name. */
int qb_state_dir_sync(const char *dir, struct qb_err *err);

/* A name made of the present time and a random number. */
struct qb_run_id qb_state_dir_new_id(void);

/* A name that sorts after all runs of the folder.  The caller holds the folder's lock until the
 * journal of that name is there. */
int qb_state_dir_next_id(const char *dir, struct qb_run_id *out, struct qb_err *err);

/* The folder's lock, which is gone with the descriptor; -1 where it cannot be had within two
 * seconds: then two runs that begin at once may have names in the wrong order. */
int qb_state_dir_lock(const char *dir);

/* Whether the folder is one to believe; QB_E_REFUSED with the reason.  One that is not there is. */
int qb_state_dir_check(const char *dir, struct qb_err *err);

void qb_state_dir_journal(const char *dir, const char *id, char out[QB_JOURNAL_PATH]);

/* The runs of the folder, oldest first; none when there is no folder. */
int qb_state_dir_list(const char *dir, qb_run_ids *out, struct qb_err *err);

/* The run that `word` means: its name, the only one that begins so, or "last".  QB_E_NOT_FOUND. */
int qb_state_dir_pick(const char *dir, const char *word, struct qb_run_id *out, struct qb_err *err);

#endif
