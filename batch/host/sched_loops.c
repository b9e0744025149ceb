/* The loops in which the workers take part, and more threads where that is worth it. */
#include "base/num.h"
#include "host/sched_parts.h"
#include "host/topo.h"
#include "host/waiting.h"
#include "opener/opener.h"

static size_t left_of(struct qb_loop *l)
{
    return l->n - qb_min(atomic_load(&l->next), l->n);
}

/* ---- threads besides the workers, where calls wait ------------------------------------------- */

static void ready(const struct qb_sched *s, struct qb_io *io)
{
    qb_io_set_owners(io, s->owners);
    qb_opener_serve(s->opener, io);
    qb_io_set_crew(io, &s->crew);
    qb_io_set_window(io, qb_topo_window(s->topo));
}

/* What such a thread does.  Others may have kept it so long that the loop is over. */
static void join_loop(void *arg, struct qb_io *io, size_t number)
{
    struct qb_sched *s = arg;
    struct qb_loop *l = &s->loop;
    bool late;

    pthread_mutex_lock(&l->mutex);
    late = l->number != number || left_of(l) == 0;
    l->inside += !late;
    pthread_mutex_unlock(&l->mutex);
    if (late)
        return;
    ready(s, io);
    qb_io_begin_phase(io);
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->n;)
        l->fn(l->arg, io, i);
    pthread_mutex_lock(&l->mutex);
    if (--l->inside == 0)
        pthread_cond_broadcast(&l->left);
    pthread_mutex_unlock(&l->mutex);
}

/* So many in all, but no more than there are calls left.  The mutex is held. */
static void ask_for_more(struct qb_sched *s, unsigned more)
{
    struct qb_loop *l = &s->loop;
    unsigned asked = atomic_load(&l->more);

    more = (unsigned)qb_min(QB_MIN(more, l->most), asked + left_of(l));
    while (asked < more) {
        atomic_store(&l->more, ++asked); /* before it begins */
        if (!qb_later_post(&s->later, join_loop, s, l->number)) {
            l->most = --asked;
            atomic_store(&l->more, asked);
            break;
        }
    }
}

/* After a call of a worker. */
static void heed(struct qb_sched *s, struct qb_waiting *waiting)
{
    unsigned threads = qb_waiting_threads(waiting), more = QB_MAX(threads, 1) * s->n - s->n;

    if (more == 0)
        return;
    pthread_mutex_lock(&s->loop.mutex);
    s->waited = (struct qb_waited){s->loop.fn, more};
    ask_for_more(s, more);
    pthread_mutex_unlock(&s->loop.mutex);
}

/* ---- a loop ---------------------------------------------------------------------------------- */

static void make_calls(struct qb_sched *s, struct qb_io *io, bool may_wait)
{
    struct qb_loop *l = &s->loop;
    struct qb_waiting waiting;

    qb_io_begin_phase(io);
    if (may_wait)
        qb_waiting_begin(&waiting);
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->n;) {
        l->fn(l->arg, io, i);
        if (may_wait)
            heed(s, &waiting);
    }
}

static void take_part(struct qb_sched *s, unsigned me)
{
    struct qb_loop *l = &s->loop;

    if (l->for_all) {
        l->fn(l->arg, s->workers[me].io, me);
        return;
    }
    make_calls(s, s->workers[me].io, l->may_wait);
}

void qb_loop_serve(struct qb_sched *s, unsigned me)
{
    struct qb_loop *l = &s->loop;
    unsigned long seen = 0;

    pthread_mutex_lock(&l->mutex);
    for (;;) {
        for (qb_helping_help(&s->helping); l->number == seen && !l->over;
             qb_helping_help(&s->helping))
            pthread_cond_wait(&l->posted, &l->mutex);
        if (l->over)
            break;
        seen = l->number;
        pthread_mutex_unlock(&l->mutex);
        take_part(s, me);
        pthread_mutex_lock(&l->mutex);
        if (--l->inside == 0)
            pthread_cond_broadcast(&l->left);
    }
    pthread_mutex_unlock(&l->mutex);
}

static void post(struct qb_sched *s, size_t n, bool for_all, qb_sched_fn *fn, void *arg,
                 unsigned most)
{
    struct qb_loop *l = &s->loop;

    pthread_mutex_lock(&l->mutex);
    l->n = n;
    l->for_all = for_all;
    l->fn = fn;
    l->arg = arg;
    l->may_wait = most > 0;
    l->most = most;
    atomic_store(&l->more, 0);
    atomic_store(&l->next, 0);
    l->inside = s->n - 1;
    l->number++;
    if (s->waited.fn == fn) {
        unsigned more = s->waited.more;

        s->waited = (struct qb_waited){0}; /* until a call waits again */
        ask_for_more(s, more);
    }
    pthread_cond_broadcast(&l->posted);
    pthread_mutex_unlock(&l->mutex);
}

static void wait_for_others(struct qb_sched *s)
{
    struct qb_loop *l = &s->loop;

    pthread_mutex_lock(&l->mutex);
    for (qb_helping_help(&s->helping); l->inside > 0; qb_helping_help(&s->helping))
        pthread_cond_wait(&l->left, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
}

void qb_sched_each(struct qb_sched *s, size_t n, qb_sched_fn *fn, void *arg)
{
    if (!s->running || s->n == 1 || n == 1) { /* not worth waking anybody */
        qb_io_begin_phase(s->workers[0].io);
        for (size_t i = 0; i < n; i++)
            fn(arg, s->workers[0].io, i);
        return;
    }
    post(s, n, false, fn, arg, 0);
    take_part(s, 0);
    wait_for_others(s);
}

void qb_sched_each_waiting(struct qb_sched *s, size_t n, unsigned most, qb_sched_fn *fn, void *arg)
{
    if (!s->running || n == 1 || most == 0 || !qb_later_has_threads(&s->later)) {
        qb_sched_each(s, n, fn, arg);
        return;
    }
    post(s, n, false, fn, arg, most);
    take_part(s, 0);
    wait_for_others(s);
    atomic_store(&s->loop.more, 0);
}

unsigned qb_sched_more(const struct qb_sched *s)
{
    return atomic_load(&s->loop.more);
}

struct beside {
    struct qb_sched *sched;
    qb_sched_fn *fn;
    void *arg;
};

static void call_beside(void *arg, struct qb_io *io)
{
    struct beside *b = arg;

    b->fn(b->arg, io, b->sched->n);
}

void qb_sched_all(struct qb_sched *s, qb_sched_fn *fn, void *arg)
{
    struct beside beside = {s, fn, arg};

    if (s->running && (s->has_aside || s->has_sleeper)) {
        qb_aside_wait(&s->aside);
        qb_aside_post(&s->aside, call_beside, &beside);
        qb_aside_wait(&s->aside);
    }
    if (s->running && s->n > 1) {
        post(s, 0, true, fn, arg, 0);
        wait_for_others(s);
    }
    fn(arg, s->workers[0].io, 0);
}
