#include "host/later.h"

#include "base/beside.h"
#include "host/topo.h"

void qb_later_begin(struct qb_later *l, const struct qb_topo *topo, struct qb_pace *pace)
{
    *l = (struct qb_later)QB_LATER_NONE;
    l->most = qb_topo_waiters(topo);
    l->topo = topo;
    l->pace = pace;
}

/* The mutex is held. */
static struct qb_later_call take(struct qb_later *l)
{
    struct qb_later_call call = l->calls[l->first];

    l->first = (l->first + 1) % QB_LATER_QUEUED;
    l->n--;
    return call;
}

static void *serve(void *arg)
{
    struct qb_later_thread *me = arg;
    struct qb_later *l = me->later;

    qb_topo_unbind(l->topo); /* whoever made it may be bound to a core */
    pthread_mutex_lock(&l->mutex);
    for (;;) {
        struct qb_later_call call;

        while (l->n == 0 && !l->over)
            pthread_cond_wait(&l->posted, &l->mutex);
        if (l->n == 0)
            break;
        call = take(l);
        l->idle--;
        pthread_mutex_unlock(&l->mutex);
        qb_beside_work();
        call.fn(call.arg, me->io, call.i);
        qb_beside_rest();
        pthread_mutex_lock(&l->mutex);
        if (++l->idle == l->n_threads && l->n == 0)
            pthread_cond_broadcast(&l->done);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* The mutex is held. */
static bool add_thread(struct qb_later *l)
{
    struct qb_later_thread *t = &l->threads[l->n_threads];
    struct qb_err err;

    *t = (struct qb_later_thread){.later = l};
    if (qb_io_open(QB_IO_POSIX, &t->io, NULL, &err) < 0)
        return false;
    qb_io_set_pace(t->io, l->pace);
    if (qb_beside_start(&t->thread, serve, t) != 0) {
        qb_io_close(t->io);
        return false;
    }
    l->n_threads++;
    l->idle++;
    return true;
}

bool qb_later_post(struct qb_later *l, qb_later_fn *fn, void *arg, size_t i)
{
    bool posted;

    pthread_mutex_lock(&l->mutex);
    if (!l->held && l->n >= l->idle && l->n_threads < l->most && !add_thread(l))
        l->most = l->n_threads;
    posted = l->n_threads > 0 && l->n < QB_LATER_QUEUED;
    if (posted) {
        l->calls[(l->first + l->n++) % QB_LATER_QUEUED] = (struct qb_later_call){fn, arg, i};
        pthread_cond_signal(&l->posted);
    }
    pthread_mutex_unlock(&l->mutex);
    return posted;
}

bool qb_later_has_threads(struct qb_later *l)
{
    bool has;

    pthread_mutex_lock(&l->mutex);
    has = l->most > 0 && !l->held;
    pthread_mutex_unlock(&l->mutex);
    return has;
}

void qb_later_hold(struct qb_later *l, bool held)
{
    pthread_mutex_lock(&l->mutex);
    l->held = held;
    pthread_mutex_unlock(&l->mutex);
}

unsigned qb_later_number(struct qb_later *l, const struct qb_io *io)
{
    unsigned i = 0;

    pthread_mutex_lock(&l->mutex);
    while (i + 1 < l->n_threads && l->threads[i].io != io)
        i++;
    pthread_mutex_unlock(&l->mutex);
    return i;
}

void qb_later_wait(struct qb_later *l)
{
    pthread_mutex_lock(&l->mutex);
    while (l->n > 0 || l->idle < l->n_threads)
        pthread_cond_wait(&l->done, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
}

void qb_later_end(struct qb_later *l)
{
    pthread_mutex_lock(&l->mutex);
    l->over = true;
    pthread_cond_broadcast(&l->posted);
    pthread_mutex_unlock(&l->mutex);
    while (l->n_threads > 0) {
        struct qb_later_thread *t = &l->threads[--l->n_threads];

        pthread_join(t->thread, NULL);
        qb_io_close(t->io);
    }
}
