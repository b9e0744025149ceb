/* Runs a batch: waves of images amended in step, and what became of each told in manifest order.
 *
 * An image is in one of three hands: the queue's (ready_queue.h: it has not run or waits), the
 * wave's (wave.h: it runs), or the hold's (reorder.h: it is done and waits for its turn to be told
 * of). run.c passes it on, from round to round; run_open.c, run_end.c and run_policy.c are its
 * parts. */
#ifndef QB_RUN_RUN_H
#define QB_RUN_RUN_H

#include "run/reorder.h"
#include "job/job.h"
#include "job/meter.h"
#include "journal/run_journal.h"

struct qb_run_options {
    enum qb_io_kind io;
    unsigned jobs; /* workers; 0: the manifest's number, or what the machine is good for */
    bool dry_run;
    bool describe;          /* outcomes carry the plan in words */
    struct qb_state *state; /* where the run remembers itself; NULL: nowhere */
    bool (*stopped)(void);  /* asked between the phases: leave before the next flip; may be NULL */
};

struct qb_listener {
    void *arg;
    /* Each job once, in manifest order, from the calling thread. */
    void (*image)(void *arg, size_t job, const struct qb_outcome *outcome);
    void (*pause)(void *arg); /* after some of these calls: nothing more for a while; may be NULL */
    void (*notice)(void *arg, const char *text); /* one line for a person; may be NULL */
    struct qb_meter *meter;                      /* may be NULL */
};

/* 0 when every job was told of, whatever became of it; -1 when nothing could be started, and
 * nothing was touched. */
int qb_run(const struct qb_batch *batch, const struct qb_run_options *options,
           const struct qb_listener *listener, struct qb_err *err);

#endif
