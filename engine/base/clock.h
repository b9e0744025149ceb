/* Reads the monotonic clock. */
#ifndef QB_BASE_CLOCK_H
#define QB_BASE_CLOCK_H

#include <time.h>

/* Seconds since an unspecified time: only differences are meaningful. */
static inline double qb_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Processor time of the calling thread, seconds. */
static inline double qb_thread_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
