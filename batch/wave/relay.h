/* A run whose images are read by processes that may die: whatever an image does to one of them, the
 * next one works on the others.
 *
 * Which images a process has begun, and how far it came with each, is in memory that it shares with
 * its parent.  After its death these are suspects: the next process has them first, each of them
 * alone, so that one which ends that process too is known to be the reason. */
#ifndef QB_WAVE_RELAY_H
#define QB_WAVE_RELAY_H

#include <stdatomic.h>
#include <sys/types.h>

#include "amend/amend.h"
#include "base/result.h"
#include "backing/ready_queue.h"
#include "base/digest.h"
#include "job/job.h"

enum qb_suspect { QB_SUSPECT_NOT, QB_SUSPECT, QB_SUSPECT_FIRST /* before the others */ };

enum qb_held_phase {
    QB_HELD_BEGUN,
    QB_HELD_PLANNED, /* of what follows only length, size and switches are set */
    QB_HELD_FLIPS,   /* its header is being written, or was */
};

/* A bool of memory that whoever is not believed writes to: any byte but 0 is true. */
typedef unsigned char qb_told;

/* An image that a process has begun, and whose result is not told. */
struct qb_held {
    atomic_size_t job; /* 1 + its number; 0: this place is free */
    atomic_uint phase;
    qb_told appends, cuts_data;
    qb_told amended;               /* by a commit before the one that is planned */
    qb_told may_be_amended;        /* by a process that died before this one */
    uint64_t length, virtual_size; /* of the file before; of the disk as planned */
    dev_t dev;
    ino_t ino;
    struct qb_digest old_sector, new_sector;
};

enum { QB_HELD_MAX = 2048 }; /* QB_WAVES of the largest */

/* What a process is told of those before it. */
struct qb_relay {
    struct qb_held *held; /* QB_HELD_MAX places */
    size_t failed;        /* images that have failed */
    unsigned waves;       /* that were begun */
    double begun;         /* when the run was: see qb_now */
    pid_t parent;
};

/* ---- in the process that may die; a place that is NULL is none ------------------------------- */

/* The image is begun.  NULL without a relay. */
struct qb_held *qb_held_begin(const struct qb_relay *relay, size_t job);
void qb_held_plans(struct qb_held *held, const struct qb_amend *amend, bool again);
void qb_held_flips(struct qb_held *held, const struct qb_amend *amend);
/* Of an undo: its header is being written, in place of another one. */
void qb_held_swaps(struct qb_held *held, const struct qb_file *file,
                   const uint8_t from[QB_RESULT_SECTOR], const uint8_t to[QB_RESULT_SECTOR]);
void qb_held_end(struct qb_held *held);

/* Suspects of the batch that were not looked at yet.  While there are some, one image runs at a
 * time. */
struct qb_suspected {
    bool *jobs; /* owned; NULL: there were none */
    size_t n;
};

/* Puts them in front of the queue; false when memory is short. */
bool qb_suspected_first(struct qb_suspected *s, const struct qb_batch *batch,
                        struct qb_queue *queue);
void qb_suspected_clear(struct qb_suspected *s, size_t job); /* it did no harm */
void qb_suspected_free(struct qb_suspected *s);

#endif
