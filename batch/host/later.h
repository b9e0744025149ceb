/* Calls that mostly wait for the kernel, on threads of their own: the workers, of which there is
 * one a core, have others to serve meanwhile.
 *
 * The threads are made one by one, as long as calls are posted and none is idle, for most runs have
 * no such call.  They are no threads of OpenMP, which ends the process where one cannot be made:
 * then whoever posts a call makes it.  They have the rights of the thread that posts, so a process
 * is to be confined before. */
#ifndef QB_HOST_LATER_H
#define QB_HOST_LATER_H

#include <pthread.h>

#include "io/io.h"

struct qb_topo;
struct qb_pace;

typedef void qb_later_fn(void *arg, struct qb_io *io, size_t i);

enum {
    QB_LATER_THREADS = 64,
    QB_LATER_QUEUED = 256, /* calls that wait for one of them */
};

struct qb_later_call {
    qb_later_fn *fn;
    void *arg;
    size_t i;
};

struct qb_later {
    pthread_mutex_t mutex;
    pthread_cond_t posted, done;
    struct qb_later_call calls[QB_LATER_QUEUED]; /* a ring: n of them, from `first` on */
    size_t first, n;
    unsigned most; /* threads; 0: none are wanted */
    bool held;     /* none is made for now */
    unsigned n_threads, idle;
    bool over;
    const struct qb_topo *topo;
    struct qb_pace *pace; /* NULL: no limit */
    struct qb_later_thread {
        struct qb_later *later;
        pthread_t thread;
        struct qb_io *io; /* with plain system calls; owned */
    } threads[QB_LATER_THREADS];
};

#define QB_LATER_NONE                                                                              \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .posted = PTHREAD_COND_INITIALIZER,                    \
        .done = PTHREAD_COND_INITIALIZER                                                           \
    }

/* For calls that keep this pace; both arguments outlive them, and the pace may be NULL. */
void qb_later_begin(struct qb_later *later, const struct qb_topo *topo, struct qb_pace *pace);

/* By any thread: fn(arg, io, i) is called once.  false: not here, for there is no thread, or too
 * much is queued; the caller is to make the call. */
bool qb_later_post(struct qb_later *later, qb_later_fn *fn, void *arg, size_t i);

/* Whether there are such threads, or may be. */
bool qb_later_has_threads(struct qb_later *later);

/* While it is held no thread is made: it would keep rights that the process is about to give up. */
void qb_later_hold(struct qb_later *l, bool held);

/* The number, from 0, of the thread with this qb_io; by itself. */
unsigned qb_later_number(struct qb_later *later, const struct qb_io *io);

/* Waits until all calls have returned; none may be posted meanwhile. */
void qb_later_wait(struct qb_later *later);

/* Ends the threads, all calls having returned. */
void qb_later_end(struct qb_later *later);

#endif
