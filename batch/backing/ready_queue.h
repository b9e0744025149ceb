/* Decides which images run next.  Every job is taken in manifest order unless it has to wait: for
 * another job (its backing file), for a time (a lock to be tried again), or because a wave had no
 * room for it. */
#ifndef QB_BACKING_READY_QUEUE_H
#define QB_BACKING_READY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#define QB_NO_JOB SIZE_MAX

struct qb_queue;

struct qb_queue *qb_queue_new(size_t n_jobs); /* NULL when memory is short */
void qb_queue_free(struct qb_queue *queue);

/* Takes up to `most` jobs that may run at `now` (seconds of any clock) into out[]; returns how
 * many. 0: none is left, or those that are left wait, be it for jobs that were taken before. */
size_t qb_queue_take(struct qb_queue *queue, double now, size_t most, size_t *out);

/* The same in two parts, for whoever draws those that have not run yet in another order: the ones
 * that waited, and one that is fresh, added to out[*n]; false: it may not run beside those taken.
 */
size_t qb_queue_take_waiting(struct qb_queue *queue, double now, size_t most, size_t *out);
bool qb_queue_take_fresh(struct qb_queue *queue, size_t job, size_t *out, size_t *n);

/* Whether it was never taken, and no other job waited for it. */
bool qb_queue_is_fresh(const struct qb_queue *queue, size_t job);

/* The result of a job that was taken: done, or to be tried again. */
void qb_queue_done(struct qb_queue *queue, size_t job);
void qb_queue_again(struct qb_queue *queue, size_t job, double not_before);

/* Makes the job wait until `other` is done, which moves to the front.  `must`: the order is
 * required; else `other` is only the old backing file, which the request replaces. */
void qb_queue_after(struct qb_queue *queue, size_t job, size_t other, bool must);

/* The job was closed again, untouched, because the images in progress left too little memory or
 * open files.  It is taken again later; with `alone`, or after a few attempts, only when no other
 * job is in progress, and no other is taken until it is done. */
void qb_queue_crowded(struct qb_queue *queue, size_t job, bool alone);

/* Whether no other job is in progress for that reason: more memory or open files will not be
 * available. */
bool qb_queue_has_all_room(const struct qb_queue *queue, size_t job);

/* The job, fresh or waiting, is not to be taken any more: it is done. */
void qb_queue_drop(struct qb_queue *queue, size_t job);

bool qb_queue_is_done(const struct qb_queue *queue, size_t job);

/* Whether this job was let through without waiting for its old backing file (see
 * qb_queue_untangle): it is taken when no other job is, and until it is done
 * none is. */
bool qb_queue_is_alone(const struct qb_queue *queue, size_t job);

/* The earliest time at which a job that waits for a time may run; a negative number when none
 * does. */
double qb_queue_wakes(const struct qb_queue *queue);

/* When every job that is left waits for another one, some of them wait in a circle.  Lets one of
 * the circle through if that is legal and returns 0, else takes the circle's jobs, up to `most`,
 * into out[] and returns how many: nothing can be done for them. */
size_t qb_queue_untangle(struct qb_queue *queue, size_t most, size_t *out);

#endif
