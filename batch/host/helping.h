/* Loops that single workers have for themselves (io/crew.h), in which those take part that have
 * nothing else to do, and spare threads where there are fewer workers than the machine has cores:
 * an image that is alone is computed on all of them, and a fleet on no more.
 *
 * Spare threads are made when such a loop begins first, for most runs have none.  They are no
 * threads of OpenMP, which ends the process where one cannot be made; so can the loop without. */
#ifndef QB_HOST_HELPING_H
#define QB_HOST_HELPING_H

#include <pthread.h>

#include "io/crew.h"

struct qb_topo;
struct qb_own_loop;

struct qb_helping {
    pthread_mutex_t *mutex;        /* of the scheduler, as are the next two; not owned */
    pthread_cond_t *posted, *left; /* whoever waits for work, or for the end of a loop */
    const struct qb_topo *topo;
    unsigned workers;
    unsigned threads; /* workers and spare ones; 0: not asked for yet */
    struct qb_own_loop *open;
    bool over;
    bool held;        /* no spare thread is made for now */
    pthread_t *spare; /* owned */
    unsigned n_spare;
};

/* What a struct qb_crew calls; `arg` is the struct qb_helping. */
unsigned qb_helping_hands(void *arg);
double qb_helping_each(void *arg, size_t n, unsigned hands, qb_part_fn *fn, void *fn_arg);

/* Takes part in such loops as long as there are any.  The caller holds the mutex, before and after,
 * and waits for `posted` or `left` if it has nothing else to do then. */
void qb_helping_help(struct qb_helping *h);

/* Ends the spare threads; no loop may be in progress. */
void qb_helping_end(struct qb_helping *h);

#endif
