/* Jobs that have no result yet, in the order in which they are worked on: those that a process held
 * when it died (wave/relay.h) come first, each alone. */
#ifndef QB_UNDOING_LEFT_H
#define QB_UNDOING_LEFT_H

#include "job/job.h"

struct qb_left {
    size_t *order; /* of jobs; owned */
    size_t n;
    size_t n_alone;    /* so many first, each alone */
    size_t n_together; /* those from here on, each alone */
};

/* Of a batch of which some jobs may be settled; -1 when memory is short. */
int qb_left_find(struct qb_left *left, const struct qb_batch *batch, struct qb_err *err);
void qb_left_free(struct qb_left *left);

/* How many jobs from `first` on are a wave, up to `most`. */
size_t qb_left_wave(const struct qb_left *left, size_t first, size_t most);

/* The job is to be worked on once more, alone, after all others: once for each job. */
void qb_left_again(struct qb_left *left, size_t job);

#endif
