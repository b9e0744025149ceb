/* How far a run is: counters that the workers advance and whoever shows the progress reads, and the
 * ways in which it can be shown.
 *
 * Work is counted in bytes: what an image's plan is going to write (and, with `verify: content`, to
 * read), and a fixed part for what each image costs.  An image whose plan is not made yet is taken
 * for the mean of those whose plan is. */
#ifndef QB_JOB_METER_H
#define QB_JOB_METER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qb_watching {
    QB_WATCH_AUTO, /* the line where standard error is a terminal */
    QB_WATCH_JSON,
    QB_WATCH_NONE,
};

enum { QB_BUSY_SHOWN = 16 };

/* An image that a worker is with. */
struct qb_busy {
    atomic_size_t job;             /* 1 + its number; 0: this place is free */
    atomic_uint_fast64_t since_ms; /* of CLOCK_MONOTONIC */
    _Atomic(const char *) doing;   /* "planning" */
};

/* How far the run is, written by the workers and read by whoever draws it. */
struct qb_meter {
    atomic_size_t done, failed;
    atomic_size_t passed;               /* of those done: an earlier call had dealt with them */
    atomic_size_t known;                /* images whose work is known */
    atomic_uint_fast64_t work;          /* bytes, of these images */
    atomic_uint_fast64_t worked;        /* bytes of it that are behind them */
    atomic_uint_fast64_t worked_from;   /* ms of CLOCK_MONOTONIC when the first were; 0: not yet */
    atomic_uint_fast64_t planned;       /* bytes that the plans so far are going to write */
    atomic_uint_fast64_t clusters;      /* expanded or given up, in images that are done */
    atomic_uint_fast64_t written;       /* bytes, zeros included, as they are written */
    struct qb_busy busy[QB_BUSY_SHOWN]; /* some of those under way */
};

/* One image's part in the meter.  Zeroed: none. */
struct qb_metered {
    bool known;
    uint64_t bytes;   /* of its work, without the fixed part */
    uint64_t work;    /* all of it */
    uint64_t worked;  /* of that */
    uint64_t written; /* bytes counted into the meter */
    uint64_t planned; /* likewise */
};

enum { QB_METER_STEPS = 4 }; /* into which the fixed part is divided */

/* All of these take NULL for a meter, and do nothing then. */

/* The image's plan is made: it is going to write so many bytes and read so many for comparison. */
void qb_meter_plan(struct qb_meter *meter, struct qb_metered *image, uint64_t write_bytes,
                   uint64_t read_bytes);

/* So many bytes of that are behind it, and so many bytes were written to it in all. */
void qb_meter_bytes(struct qb_meter *meter, struct qb_metered *image, uint64_t bytes,
                    uint64_t written_bytes);

/* It has come to this step of QB_METER_STEPS; with the last one, all its work is behind it. */
void qb_meter_step(struct qb_meter *meter, struct qb_metered *image, unsigned step);

/* It was put off, as if nothing had happened. */
void qb_meter_again(struct qb_meter *meter, struct qb_metered *image);

/* An image that needed no work. */
void qb_meter_pass(struct qb_meter *meter);

/* The share of the work that is behind a run of `total` images: 0 to 1. */
double qb_meter_share(const struct qb_meter *meter, size_t total);

#endif
