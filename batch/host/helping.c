#include "host/helping.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/beside.h"
#include "base/clock.h"
#include "host/topo.h"

struct qb_own_loop {
    struct qb_own_loop *next_open;
    size_t n;
    unsigned hands;   /* the most threads, its worker included */
    unsigned joined;  /* helpers, ever */
    unsigned inside;  /* helpers that have not left it yet */
    double helped;    /* processor time of helpers, seconds */
    atomic_size_t at; /* the next part */
    qb_part_fn *fn;
    void *arg;
};

/* A loop that has parts left and may have one thread more, which is inside then; *who is its number
 * there.  NULL: there is none. */
static struct qb_own_loop *join(struct qb_helping *h, unsigned *who)
{
    for (struct qb_own_loop *own = h->open; own; own = own->next_open)
        if (own->joined + 1 < own->hands && atomic_load(&own->at) < own->n) {
            own->inside++;
            *who = ++own->joined;
            return own;
        }
    return NULL;
}

static void take_part(struct qb_own_loop *own, unsigned who)
{
    for (size_t i; (i = atomic_fetch_add(&own->at, 1)) < own->n;)
        own->fn(own->arg, who, i);
}

void qb_helping_help(struct qb_helping *h)
{
    struct qb_own_loop *own;
    unsigned who;
    double used;

    while ((own = join(h, &who)) != NULL) {
        pthread_mutex_unlock(h->mutex);
        used = qb_thread_seconds();
        take_part(own, who);
        used = qb_thread_seconds() - used;
        pthread_mutex_lock(h->mutex);
        own->helped += used;
        if (--own->inside == 0)
            pthread_cond_broadcast(h->left);
    }
}

/* The mutex is held. */
static unsigned threads_of(struct qb_helping *h)
{
    if (!h->threads)
        h->threads = qb_max(qb_topo_threads(h->topo), h->workers);
    return h->threads;
}

/* ---- spare threads --------------------------------------------------------------------------- */

static void *serve(void *arg)
{
    struct qb_helping *h = arg;

    pthread_mutex_lock(h->mutex);
    for (qb_helping_help(h); !h->over; qb_helping_help(h))
        pthread_cond_wait(h->posted, h->mutex);
    pthread_mutex_unlock(h->mutex);
    return NULL;
}

/* Those that cannot be made are not missed. */
static void make_spare(struct qb_helping *h)
{
    unsigned n = threads_of(h) - h->workers;

    h->spare = n ? calloc(n, sizeof(*h->spare)) : NULL;
    if (!h->spare)
        return;
    while (h->n_spare < n && qb_beside_start(&h->spare[h->n_spare], serve, h) == 0)
        h->n_spare++;
}

void qb_helping_end(struct qb_helping *h)
{
    pthread_mutex_lock(h->mutex);
    h->over = true;
    pthread_cond_broadcast(h->posted);
    pthread_mutex_unlock(h->mutex);
    for (unsigned i = 0; i < h->n_spare; i++)
        pthread_join(h->spare[i], NULL);
    free(h->spare);
    h->spare = NULL;
    h->n_spare = 0;
}

/* ---- a loop ---------------------------------------------------------------------------------- */

unsigned qb_helping_hands(void *arg)
{
    struct qb_helping *h = arg;
    unsigned threads;

    pthread_mutex_lock(h->mutex);
    threads = threads_of(h);
    pthread_mutex_unlock(h->mutex);
    return threads;
}

static void close_loop(struct qb_helping *h, struct qb_own_loop *own)
{
    struct qb_own_loop **at = &h->open;

    while (*at != own)
        at = &(*at)->next_open;
    *at = own->next_open;
    while (own->inside > 0)
        pthread_cond_wait(h->left, h->mutex);
}

double qb_helping_each(void *arg, size_t n, unsigned hands, qb_part_fn *fn, void *fn_arg)
{
    struct qb_helping *h = arg;
    struct qb_own_loop own = {.n = n, .hands = hands, .fn = fn, .arg = fn_arg};

    pthread_mutex_lock(h->mutex);
    if (!h->spare && !h->held)
        make_spare(h);
    own.next_open = h->open;
    h->open = &own;
    pthread_cond_broadcast(h->posted);
    pthread_cond_broadcast(h->left);
    pthread_mutex_unlock(h->mutex);
    take_part(&own, 0);
    pthread_mutex_lock(h->mutex);
    close_loop(h, &own);
    pthread_mutex_unlock(h->mutex);
    return own.helped;
}
