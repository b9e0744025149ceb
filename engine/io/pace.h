/* A limit on how fast the disk is used, shared by all workers: bytes written a second, and requests
 * a second.  What is asked for is let through at its turn; a pause is not made up for later, but
 * for a tenth of a second's worth. */
#ifndef QB_IO_PACE_H
#define QB_IO_PACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct qb_pace {
    double bytes_per_second, ops_per_second; /* 0: no limit */
    pthread_mutex_t mutex;
    double bytes_until, ops_until; /* seconds: up to then what was let through has used its share */
};

void qb_pace_init(struct qb_pace *pace, double bytes_per_second, double ops_per_second);
void qb_pace_free(struct qb_pace *pace);

/* Books so many bytes and requests at the time `now` (seconds of any clock that does not go back);
 * returns the time from which on they may go out. */
double qb_pace_book(struct qb_pace *pace, double now, uint64_t bytes, uint64_t ops);

/* The same, and waits; in short naps, between which `stop` (may be NULL) is asked.  false when it
 * said so. */
bool qb_pace_wait(struct qb_pace *pace, uint64_t bytes, uint64_t ops, bool (*stop)(void *arg),
                  void *arg);

/* How much to write at once so that the limit is kept smoothly: at most `bytes`. */
uint64_t qb_pace_piece(const struct qb_pace *pace, uint64_t bytes);

#endif
