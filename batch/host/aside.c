#include "host/aside.h"

void qb_aside_serve(struct qb_aside *a, struct qb_io *io)
{
    pthread_mutex_lock(&a->mutex);
    for (;;) {
        while (!a->fn && !a->over)
            pthread_cond_wait(&a->posted, &a->mutex);
        if (!a->fn)
            break;
        pthread_mutex_unlock(&a->mutex);
        a->fn(a->arg, io);
        pthread_mutex_lock(&a->mutex);
        a->fn = NULL;
        pthread_cond_signal(&a->done);
    }
    pthread_mutex_unlock(&a->mutex);
}

void qb_aside_post(struct qb_aside *a, qb_aside_fn *fn, void *arg)
{
    pthread_mutex_lock(&a->mutex);
    a->fn = fn;
    a->arg = arg;
    pthread_cond_signal(&a->posted);
    pthread_mutex_unlock(&a->mutex);
}

void qb_aside_wait(struct qb_aside *a)
{
    pthread_mutex_lock(&a->mutex);
    while (a->fn)
        pthread_cond_wait(&a->done, &a->mutex);
    pthread_mutex_unlock(&a->mutex);
}

void qb_aside_end(struct qb_aside *a)
{
    pthread_mutex_lock(&a->mutex);
    a->over = true;
    pthread_cond_signal(&a->posted);
    pthread_mutex_unlock(&a->mutex);
}
