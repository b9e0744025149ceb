/* Finds the state directory and lists its journals, one file "RUN.journal" per run.  A run's name
 * is its start time and a number.  Names sort by age, also within one second and after the clock
 * was set back: a new name follows the greatest one of the directory.
 *
 * The directory must belong to the effective user, no other user may write to it, and no directory
 * above it may permit every user to rename its entries; any other is refused. */
#ifndef QB_JOURNAL_STATE_DIR_H
#define QB_JOURNAL_STATE_DIR_H

#include <limits.h>

#include "base/err.h"
#include "base/vec.h"

enum {
    QB_RUN_ID = 32,    /* bytes of a run's name with its NUL */
    QB_RUNS_KEPT = 50, /* of the journals that are not needed any more */
    QB_JOURNAL_PATH = PATH_MAX + QB_RUN_ID + 16,
};

struct qb_run_id {
    char text[QB_RUN_ID];
};

typedef QB_VEC(struct qb_run_id) qb_run_ids;

/* Chooses the directory: `wanted` (NULL: not given), else systemd's $STATE_DIRECTORY, else
 * /var/lib/qbatch for root and $XDG_STATE_HOME/qbatch or ~/.local/state/qbatch for others.  -1 when
 * none can be determined. */
int qb_state_dir_find(const char *wanted, char out[PATH_MAX], struct qb_err *err);

/* Makes the directory and those above it, if missing, readable only by the user. */
int qb_state_dir_make(const char *dir, struct qb_err *err);

/* Makes the entries of the directory durable: syncing a new file does not cover its name. */
int qb_state_dir_sync(const char *dir, struct qb_err *err);

/* A name made of the present time and a random number. */
struct qb_run_id qb_state_dir_new_id(void);

/* A name that sorts after all runs of the directory.  The caller holds the directory's lock until
 * the journal of that name exists. */
int qb_state_dir_next_id(const char *dir, struct qb_run_id *out, struct qb_err *err);

/* Takes the directory's lock, which is released by closing the descriptor; -1 if that fails for two
 * seconds: then two runs that begin at the same time may have names in the wrong order. */
int qb_state_dir_lock(const char *dir);

/* Whether the directory can be trusted; QB_E_REFUSED with the reason.  A missing one can. */
int qb_state_dir_check(const char *dir, struct qb_err *err);

void qb_state_dir_journal(const char *dir, const char *id, char out[QB_JOURNAL_PATH]);

/* Removes the journal of a run, and the control socket (ctl/socket.h) if it was killed. */
void qb_state_dir_remove(const char *dir, const char *id);

/* The runs of the directory, oldest first; none if it does not exist. */
int qb_state_dir_list(const char *dir, qb_run_ids *out, struct qb_err *err);

/* Finds the run of `word`: its name, an unambiguous beginning of it, or "last".  QB_E_NOT_FOUND. */
int qb_state_dir_pick(const char *dir, const char *word, struct qb_run_id *out, struct qb_err *err);

#endif
