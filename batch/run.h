/* Runs a batch: waves of images amended in step, and what became of each told in manifest order.
 *
 * An image is in one of three hands: the queue's (queue.h: it has not run or waits), the wave's
 * (wave.h: it runs), or the hold's (hold.h: it is done and waits for its turn to be told of).
 * run.c passes it on, from round to round; run_open.c, run_end.c and run_policy.c are its parts. */
#ifndef QB_BATCH_RUN_H
#define QB_BATCH_RUN_H

#include <stdatomic.h>

#include "batch/hold.h"
#include "batch/job.h"
#include "batch/state.h"

struct qb_run_options {
    enum qb_io_kind io;
    unsigned jobs; /* workers; 0: the manifest's number, or what the machine is good for */
    bool dry_run;
    bool describe;          /* outcomes carry the plan in words */
    struct qb_state *state; /* where the run remembers itself; NULL: nowhere */
    bool (*stopped)(void);  /* asked between the phases: leave before the next flip; may be NULL */
};

enum { QB_UNITS = 4, QB_BUSY_SHOWN = 16 };

/* An image that a worker is with. */
struct qb_busy {
    atomic_size_t job;             /* 1 + its number; 0: this place is free */
    atomic_uint_fast64_t since_ms; /* of CLOCK_MONOTONIC */
    _Atomic(const char *) doing;   /* "planning" */
};

/* How far the run is, written by the workers and read by whoever draws it. */
struct qb_meter {
    atomic_size_t units; /* QB_UNITS for each image that is done, fewer for those under way */
    atomic_size_t done, failed;
    atomic_uint_fast64_t clusters;      /* expanded or given up, in images that are done */
    atomic_uint_fast64_t written;       /* bytes, zeros included, likewise */
    struct qb_busy busy[QB_BUSY_SHOWN]; /* some of those under way */
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
