/* Limits bytes written per second and requests per second, for all workers together.  Each request
 * waits for its turn; unused time is lost, except for a burst of a tenth of a second. */
#ifndef QB_IO_PACE_H
#define QB_IO_PACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct qb_pace {
    _Atomic double bytes_per_second, ops_per_second; /* 0: no limit */
    atomic_uint changes;                             /* of these */
    pthread_mutex_t mutex;
    double bytes_until, ops_until; /* seconds: the time up to which the limit is used up */
};

void qb_pace_init(struct qb_pace *pace, double bytes_per_second, double ops_per_second);
void qb_pace_free(struct qb_pace *pace);

/* Other limits from now on, which any thread may set.  What was booked and waits for its turn is
 * let through: at the former limits that took a tenth of a second. */
void qb_pace_set(struct qb_pace *pace, double bytes_per_second, double ops_per_second);

/* Books these bytes and requests at the time `now` (seconds of any clock that does not go
 * backwards); returns the time at which they may be sent. */
double qb_pace_book(struct qb_pace *pace, double now, uint64_t bytes, uint64_t ops);

/* Books them and waits, in short sleeps, between which `stop` (may be NULL) is called.  false when
 * that returned true. */
bool qb_pace_wait(struct qb_pace *pace, uint64_t bytes, uint64_t ops, bool (*stop)(void *arg),
                  void *arg);

/* How much to write at once for an even rate: at most `bytes`. */
uint64_t qb_pace_piece(const struct qb_pace *pace, uint64_t bytes);

#endif
