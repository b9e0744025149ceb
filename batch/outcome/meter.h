/* Measures the progress of a run: counters that the workers advance and the progress display reads,
 * and the kinds of display.
 *
 * Work is counted in bytes: what an image's plan will write (and, with `verify: content`, read),
 * and a fixed part for the cost of each image.  An image without a plan yet is assumed to be the
 * mean of those with one. */
#ifndef QB_OUTCOME_METER_H
#define QB_OUTCOME_METER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qb_watching {
    QB_WATCH_AUTO, /* a line if standard error is a terminal */
    QB_WATCH_JSON,
    QB_WATCH_NONE,
};

enum { QB_BUSY_SHOWN = 16 };

/* A number, for the meter may be written by a process that is not believed. */
enum qb_doing {
    QB_DOING_NOTHING,
    QB_DOING_PLANNING,
    QB_DOING_WRITING,
    QB_DOING_VERIFYING,
    QB_DOING_READING,
    QB_DOING_CHECKING,
    QB_DOING_EXTENDING,
};
const char *qb_doing_name(unsigned doing); /* "planning"; NULL: nothing, or no such number */

/* Why no image is begun; a number, too.  The last one is until somebody lets the run continue. */
enum qb_waiting {
    QB_WAITS_NOT,
    QB_WAITS_WINDOW,
    QB_WAITS_LOAD,
    QB_WAITS_SOAK,
    QB_WAITS_GATE,
    QB_WAITS_ASK,
    QB_WAITS_PAUSED,
};
const char *qb_waiting_name(unsigned waits); /* "rollout.soak"; NULL: as above */
enum qb_waiting qb_waiting_of(const char *name);

/* An image that a worker is processing. */
struct qb_busy {
    atomic_size_t job;             /* 1 + its number; 0: this slot is free */
    atomic_uint_fast64_t since_ms; /* of CLOCK_MONOTONIC */
    atomic_uint doing;             /* of enum qb_doing */
};

/* The progress of the run, written by the workers and read by the display. */
struct qb_meter {
    atomic_size_t done, failed;
    atomic_uint step, steps;     /* of a rollout, step from 1; steps 0: it is none */
    atomic_size_t passed;        /* of those done: done by an earlier call */
    atomic_size_t known;         /* images whose work is known */
    atomic_uint_fast64_t work;   /* bytes, of these images */
    atomic_uint_fast64_t worked; /* bytes of it that are done */
    atomic_uint_fast64_t
        worked_from;             /* ms of CLOCK_MONOTONIC when the first were done; 0: not yet */
    atomic_uint_fast64_t waited; /* ms since then in waits that are over */
    atomic_uint_fast64_t waits_from;    /* ms of CLOCK_MONOTONIC, while `waits` is set */
    atomic_uint waits;                  /* enum qb_waiting */
    atomic_uint_fast64_t planned;       /* bytes that the plans so far will write */
    atomic_uint_fast64_t clusters;      /* expanded or deallocated, in images that are done */
    atomic_uint_fast64_t written;       /* bytes, zeros included, as they are written */
    struct qb_busy busy[QB_BUSY_SHOWN]; /* some of the images in progress */
};

/* One image's part in the meter.  Zeroed: none. */
struct qb_metered {
    bool known;
    uint64_t bytes;   /* work without the fixed part */
    uint64_t work;    /* work with the fixed part */
    uint64_t worked;  /* of that, done */
    uint64_t written; /* bytes counted into the meter */
    uint64_t planned; /* bytes counted into meter->planned */
};

enum { QB_METER_STEPS = 4 }; /* into which the fixed part is divided */

/* All of these accept NULL for a meter, and do nothing then. */

/* The image's plan is made: it will write `write_bytes` and read `read_bytes` for comparison. */
void qb_meter_plan(struct qb_meter *meter, struct qb_metered *image, uint64_t write_bytes,
                   uint64_t read_bytes);

/* `bytes` of that are done, and `written_bytes` were written in total. */
void qb_meter_bytes(struct qb_meter *meter, struct qb_metered *image, uint64_t bytes,
                    uint64_t written_bytes);

/* The image has reached this step of QB_METER_STEPS; with the last one, all its work is done. */
void qb_meter_step(struct qb_meter *meter, struct qb_metered *image, unsigned step);

/* The image was postponed: its progress is subtracted again. */
void qb_meter_again(struct qb_meter *meter, struct qb_metered *image);

/* An image that needed no work. */
void qb_meter_pass(struct qb_meter *meter);

/* The run waits for this from now on.  By one thread. */
void qb_meter_waits(struct qb_meter *meter, enum qb_waiting waits);

/* Seconds since the first work was done, without those in which the run waited; 0: not yet. */
double qb_meter_working(const struct qb_meter *meter);

/* The share of the work of a run of `total` images that is done: 0 to 1. */
double qb_meter_share(const struct qb_meter *meter, size_t total);

#endif
