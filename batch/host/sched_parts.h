/* Declares the workers and their loops; for sched*.c only. */
#ifndef QB_HOST_SCHED_PARTS_H
#define QB_HOST_SCHED_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "host/aside.h"
#include "host/helping.h"
#include "host/later.h"
#include "host/sched.h"

struct qb_worker {
    struct qb_io *io;
    const char *fell_back;
    struct qb_err err;
};

/* The loop that all workers are in, or wait for. */
struct qb_loop {
    pthread_mutex_t mutex;
    pthread_cond_t posted, left; /* this loop, or one of helping.h */
    unsigned long number;        /* of the loop; the workers wait for the next one */
    unsigned begun;              /* workers but the first whose qb_io is open */
    unsigned inside;             /* threads but the first worker that have not left it yet */
    bool over;                   /* there will be no more */
    size_t n;
    bool for_all; /* one call on each thread, whatever n */
    atomic_size_t next;
    qb_sched_fn *fn;
    void *arg;
    bool may_wait;    /* its calls: more threads than the workers may take part */
    unsigned most;    /* of those */
    atomic_uint more; /* that were asked to; some may come too late */
};

/* How many more threads the calls of a loop were worth: the next loop of the same calls begins with
 * as many. */
struct qb_waited {
    qb_sched_fn *fn; /* NULL: none were */
    unsigned more;
};

struct qb_sched {
    enum qb_io_kind kind; /* of each worker's struct qb_io */
    unsigned n;           /* never more threads than this in a loop */
    bool has_aside;       /* and one beside it: the last of the workers */
    bool has_sleeper;     /* the last of them, without, has nothing to do */
    bool running;         /* inside qb_sched_run */
    struct qb_loop loop;
    struct qb_waited waited;
    struct qb_helping helping;
    struct qb_crew crew; /* every worker's */
    struct qb_aside aside;
    struct qb_later later;
    struct qb_pace *pace; /* NULL: no limit */
    struct qb_owners *owners;
    const struct qb_opener *opener; /* NULL: files are opened here */
    struct qb_topo *topo;
    struct qb_worker workers[]; /* n, and one more with has_aside */
};

/* What a worker but the first does: sleep, take part in a loop, sleep. */
void qb_loop_serve(struct qb_sched *sched, unsigned me);

#endif
