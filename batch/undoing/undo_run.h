/* Undoes many images: waves whose sectors are written, and made durable, together. */
#ifndef QB_UNDOING_UNDO_RUN_H
#define QB_UNDOING_UNDO_RUN_H

#include "host/sched.h"
#include "journal/history.h"
#include "wave/run_options.h"

struct qb_takeback {
    const char *dir; /* the state directory */
    const struct qb_history *history;
    struct qb_journal *journal; /* of the same run, open; records what is done */
    const struct qb_batch *batch;
    const struct qb_trace *const *traces; /* one for each job, of the history */
    struct qb_run_options options;        /* its state is not used */
    bool ignore_times;   /* of an undo: a modification time that has changed refuses nothing */
    bool discard_writes; /* of a restore (restore.h): what was written since the run may go */
};

/* More threads than there are workers, where reads of images are waited for. */
enum { QB_TAKEBACK_THREADS = 32 };

/* Calls waves(arg) once; the workers of *sched are open meanwhile. */
int qb_takeback_on_workers(const struct qb_takeback *t, struct qb_sched **sched,
                           void (*waves)(void *arg), void *arg, struct qb_err *err);

/* As qb_run: 0 when every job was reported, -1 when nothing could be started. */
int qb_takeback_run(const struct qb_takeback *t, const struct qb_listener *listener,
                    struct qb_err *err);

#endif
