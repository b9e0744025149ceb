/* How far a run is: counters that the workers advance and whoever shows the progress reads, and the
 * ways in which it can be shown. */
#ifndef QB_JOB_METER_H
#define QB_JOB_METER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum qb_watching {
    QB_WATCH_AUTO, /* the line where standard error is a terminal */
    QB_WATCH_JSON,
    QB_WATCH_NONE,
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

#endif
