/* Has images opened before their turn.
 *
 * A worker that finds fewer than AHEAD images open after its own has the next ones opened, while
 * the others go on with those that are there; nobody waits for it: an image that is not open when
 * its turn comes is opened by itself.  So is one to whose file its path leads no more, which is
 * looked at where it has been open for some time.  No lock is held before an image's turn. */
#include "look/each_ahead.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "opener/opener.h"
#include "opener/look.h"

enum { AHEAD = QB_PARCEL_FILES, PLACES = 4 * QB_PARCEL_FILES };

#define RECENT 0.1 /* seconds */

/* An image that is open. */
struct place {
    size_t image;
    double since;        /* qb_now() */
    struct qb_file file; /* fd -1: none */
};

struct qb_each_ahead {
    const struct qb_batch *batch;
    pthread_mutex_t mutex;
    size_t begun;                /* images before this one have had their turn, or have it now */
    size_t next;                 /* the first image that is not asked for */
    bool asking;                 /* one worker at a time */
    struct place places[PLACES]; /* by the image's number */
};

struct qb_each_ahead *qb_each_ahead_new(const struct qb_batch *batch)
{
    struct qb_each_ahead *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->batch = batch;
    pthread_mutex_init(&a->mutex, NULL);
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
    a->asking = false;
    pthread_mutex_unlock(&a->mutex);
    for (size_t i = 0; i < n; i++)
        qb_file_close(&images[i].file);
}

struct qb_file qb_each_ahead_take(struct qb_each_ahead *a, struct qb_io *io, size_t i)
{
    struct qb_file file = {.fd = -1};
    double now = qb_now();
    size_t first = 0, n = 0;

    if (!a || !qb_io_opener(io))
        return file;
    pthread_mutex_lock(&a->mutex);
    a->begun = QB_MAX(a->begun, i + 1);
    file = take_out(a, i, now);
    if (!a->asking && a->next < a->begun + AHEAD) {
        first = QB_MAX(a->next, a->begun);
        n = first < a->batch->n_jobs ? QB_MIN(a->batch->n_jobs - first, QB_PARCEL_FILES) : 0;
        a->next = first + n;
        a->asking = n > 0;
    }
    pthread_mutex_unlock(&a->mutex);
    if (n > 0)
        ask(a, io, first, n);
    return file;
}
