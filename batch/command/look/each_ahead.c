/* Has images opened before their turn.
 *
 * A worker that finds fewer than AHEAD images open after its own has the next ones opened, while
 * the others go on with those that are there.  One whose turn comes meanwhile is waited for, but
 * not for long: an image that is not open then is opened by itself.  So is one to whose file its
 * path leads no more, which is looked at where it has been open for some time.  No lock is held
 * before an image's turn. */
#include "look/each_ahead.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "opener/opener.h"
#include "opener/look.h"

enum { AHEAD = QB_PARCEL_FILES, PLACES = 4 * QB_PARCEL_FILES };

#define RECENT 0.1 /* seconds */

enum { PATIENCE_MS = 50, NS_OF_MS = 1000000, NS_OF_S = 1000000000 };

/* An image that is open. */
struct place {
    size_t image;
    double since;        /* qb_now() */
    struct qb_file file; /* fd -1: none */
};

struct qb_each_ahead {
    const struct qb_batch *batch;
    pthread_mutex_t mutex;
    size_t begun; /* images before this one have had their turn, or have it now */
    size_t next;  /* the first image that is not asked for */
    bool asking;  /* one worker at a time: for those from `asked` to `next` */
    size_t asked;
    bool late;                   /* it takes long: they are not waited for any more */
    pthread_cond_t answered;     /* nobody asks */
    struct place places[PLACES]; /* by the image's number */
};

struct qb_each_ahead *qb_each_ahead_new(const struct qb_batch *batch)
{
    struct qb_each_ahead *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->batch = batch;
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->answered, NULL);
    for (size_t i = 0; i < PLACES; i++)
        a->places[i].file.fd = -1;
    return a;
}

void qb_each_ahead_free(struct qb_each_ahead *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < PLACES; i++)
        qb_file_close(&a->places[i].file);
    pthread_cond_destroy(&a->answered);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

static struct qb_file take_out(struct qb_each_ahead *a, size_t i, double now)
{
    struct place *p = &a->places[i % PLACES];
    struct qb_file file = {.fd = -1};

    if (p->image != i)
        return file;
    file = p->file;
    p->file = (struct qb_file){.fd = -1};
    if (file.fd >= 0 && now - p->since > RECENT && !qb_file_still_there(&file))
        qb_file_close(&file);
    return file;
}

/* Images of which the turn has come meanwhile are opened by now. */
static void put_in(struct qb_each_ahead *a, struct qb_to_claim *images, size_t n, double now)
{
    for (size_t i = 0; i < n; i++) {
        struct place *p = &a->places[images[i].number % PLACES];

        if (images[i].number < a->begun)
            continue;
        qb_file_close(&p->file);
        *p = (struct place){images[i].number, now, images[i].file};
        images[i].file = (struct qb_file){.fd = -1};
    }
}

static void ask(struct qb_each_ahead *a, struct qb_io *io, size_t first, size_t n)
{
    struct qb_to_claim images[QB_PARCEL_FILES];
    double now = qb_now();

    for (size_t i = 0; i < n; i++)
        images[i] =
            (struct qb_to_claim){.number = first + i, .path = a->batch->jobs[first + i].path};
    qb_opener_claim(io, QB_OPENING_IMAGE, images, n);
    pthread_mutex_lock(&a->mutex);
    put_in(a, images, n, now);
    a->asking = a->late = false;
    pthread_cond_broadcast(&a->answered);
    pthread_mutex_unlock(&a->mutex);
    for (size_t i = 0; i < n; i++)
        qb_file_close(&images[i].file);
}

static struct timespec in_a_moment(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += PATIENCE_MS * NS_OF_MS;
    t.tv_sec += t.tv_nsec / NS_OF_S;
    t.tv_nsec %= NS_OF_S;
    return t;
}

static bool is_awaited(const struct qb_each_ahead *a, size_t i)
{
    return a->asking && !a->late && i >= a->asked && i < a->next;
}

/* Until the image is open, if it is asked for.  The mutex is held. */
static void wait_for(struct qb_each_ahead *a, size_t i)
{
    struct timespec until;

    if (!is_awaited(a, i))
        return;
    until = in_a_moment();
    while (is_awaited(a, i) &&
           pthread_cond_clockwait(&a->answered, &a->mutex, CLOCK_MONOTONIC, &until) == 0)
        ;
    a->late |= is_awaited(a, i);
}

struct qb_file qb_each_ahead_take(struct qb_each_ahead *a, struct qb_io *io, size_t i)
{
    struct qb_file file = {.fd = -1};
    double now = qb_now();
    size_t first = 0, n = 0;

    if (!a || !qb_io_opener(io))
        return file;
    pthread_mutex_lock(&a->mutex);
    wait_for(a, i);
    a->begun = QB_MAX(a->begun, i + 1);
    file = take_out(a, i, now);
    if (!a->asking && a->next < a->begun + AHEAD) {
        first = QB_MAX(a->next, a->begun);
        n = first < a->batch->n_jobs ? QB_MIN(a->batch->n_jobs - first, QB_PARCEL_FILES) : 0;
        a->next = first + n;
        a->asked = first;
        a->asking = n > 0;
    }
    pthread_mutex_unlock(&a->mutex);
    if (n > 0)
        ask(a, io, first, n);
    return file;
}
