/* A task at a time for a thread of its own, which waits for them. */
#ifndef QB_HOST_ASIDE_H
#define QB_HOST_ASIDE_H

#include <pthread.h>

#include "io/io.h"

typedef void qb_aside_fn(void *arg, struct qb_io *io);

struct qb_aside {
    pthread_mutex_t mutex;
    pthread_cond_t posted, done;
    qb_aside_fn *fn; /* NULL: nothing to do */
    void *arg;
    bool over;
};

#define QB_ASIDE_NONE                                                                              \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .posted = PTHREAD_COND_INITIALIZER,                    \
        .done = PTHREAD_COND_INITIALIZER                                                           \
    }

/* By the thread: does what is posted, until qb_aside_end. */
void qb_aside_serve(struct qb_aside *aside, struct qb_io *io);

/* By another one; the task before must be done. */
void qb_aside_post(struct qb_aside *aside, qb_aside_fn *fn, void *arg);
void qb_aside_wait(struct qb_aside *aside);
void qb_aside_end(struct qb_aside *aside);

#endif
