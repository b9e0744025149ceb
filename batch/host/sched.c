#include "host/sched.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/own.h"
#include "host/aside.h"
#include "host/heap.h"
#include "host/helping.h"
#include "host/later.h"
#include "host/topo.h"

struct worker {
    struct qb_io *io;
    const char *fell_back;
    struct qb_err err;
};

/* The loop that all workers are in, or wait for. */
struct loop {
    pthread_mutex_t mutex;
    pthread_cond_t posted, left; /* this loop, or one of helping.h */
    unsigned long number;        /* of the loop; the workers wait for the next one */
    unsigned inside;             /* workers but the first that have not left it yet */
    bool over;                   /* there will be no more */
    size_t n;
    bool for_all; /* one call on each thread, whatever n */
    atomic_size_t next;
    qb_sched_fn *fn;
    void *arg;
};

struct qb_sched {
    unsigned n;     /* never more threads than this in a loop */
    bool has_aside; /* and one beside it: the last of the workers */
    bool running;   /* inside qb_sched_run */
    struct loop loop;
    struct qb_helping helping;
    struct qb_crew crew; /* every worker's */
    struct qb_aside aside;
    struct qb_later later;
    struct qb_pace *pace; /* NULL: no limit */
    struct qb_topo *topo;
    struct worker workers[]; /* n, and one more with has_aside */
};

static void close_sched(void *pp)
{
    qb_sched_close(*(struct qb_sched **)pp);
}

/* A ring is set up by the thread that uses it. */
static unsigned open_workers(struct qb_sched *s, enum qb_io_kind kind)
{
    unsigned got = 1;

#pragma omp parallel num_threads(s->n)
    {
        unsigned me = (unsigned)omp_get_thread_num();

#pragma omp single
        got = (unsigned)omp_get_num_threads();
        qb_topo_bind(s->topo, me);
        if (qb_io_open(kind, &s->workers[me].io, &s->workers[me].fell_back, &s->workers[me].err) ==
            0) {
            qb_io_set_window(s->workers[me].io, qb_topo_window(s->topo));
            qb_io_spare_signals(s->workers[me].io);
        }
    }
    return got;
}

int qb_sched_open(struct qb_topo *topo, enum qb_io_kind kind, bool aside, struct qb_sched **out,
                  const char **fell_back, struct qb_err *err)
{
    unsigned workers = qb_topo_workers(topo);
    QB_AUTO(close_sched)
    struct qb_sched *s = calloc(1, sizeof(*s) + (workers + 1) * sizeof(s->workers[0]));

    if (!s) {
        qb_topo_close(topo);
        return qb_fail_memory(err);
    }
    qb_heap_keep();
    omp_set_dynamic(0);
    s->n = workers;
    s->topo = topo;
    s->n = open_workers(s, kind);
    if (fell_back)
        *fell_back = s->workers[0].fell_back;
    for (unsigned i = 0; i < s->n; i++)
        if (!s->workers[i].io) {
            *err = s->workers[i].err;
            return -1;
        }
    s->has_aside =
        aside && qb_io_open(kind, &s->workers[s->n].io, NULL, &s->workers[s->n].err) == 0;
    *out = qb_take(&s);
    return 0;
}

void qb_sched_set_pace(struct qb_sched *s, struct qb_pace *pace)
{
    s->pace = pace;
    for (unsigned i = 0; i < s->n; i++)
        qb_io_set_pace(s->workers[i].io, pace);
}

void qb_sched_set_owners(struct qb_sched *s, struct qb_owners *owners)
{
    for (unsigned i = 0; i < s->n + s->has_aside; i++)
        qb_io_set_owners(s->workers[i].io, owners);
}

void qb_sched_set_opener(struct qb_sched *s, const struct qb_opener *opener)
{
    for (unsigned i = 0; i < s->n + s->has_aside; i++)
        qb_io_set_opener(s->workers[i].io, opener);
}

void qb_sched_close(struct qb_sched *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->n + s->has_aside; i++)
        if (s->workers[i].io)
            qb_io_close(s->workers[i].io);
    qb_topo_close(s->topo);
    free(s);
}

static void take_part(struct qb_sched *s, unsigned me)
{
    struct loop *l = &s->loop;

    if (l->for_all) {
        l->fn(l->arg, s->workers[me].io, me);
        return;
    }
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->n;)
        l->fn(l->arg, s->workers[me].io, i);
}

/* What a worker but the first does: sleep, take part in a loop, sleep. */
static void serve(struct qb_sched *s, unsigned me)
{
    struct loop *l = &s->loop;
    unsigned long seen = 0;

    if (s->has_aside) /* a long run */
        qb_heap_stretch();
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

static void dismiss(struct qb_sched *s)
{
    pthread_mutex_lock(&s->loop.mutex);
    s->loop.over = true;
    pthread_cond_broadcast(&s->loop.posted);
    pthread_mutex_unlock(&s->loop.mutex);
    qb_aside_end(&s->aside);
}

static void set_crew(struct qb_sched *s, const struct qb_crew *crew)
{
    for (unsigned i = 0; i < s->n; i++)
        qb_io_set_crew(s->workers[i].io, crew);
}

/* What the calling thread does. */
static void run_body(struct qb_sched *s, void (*body)(void *arg), void *arg)
{
    set_crew(s, s->running ? &s->crew : NULL);
    body(arg);
    set_crew(s, NULL);
    s->running = false;
    qb_later_end(&s->later);
    qb_helping_end(&s->helping);
    dismiss(s);
}

void qb_sched_run(struct qb_sched *s, void (*body)(void *arg), void *arg)
{
    s->loop = (struct loop){.mutex = PTHREAD_MUTEX_INITIALIZER,
                            .posted = PTHREAD_COND_INITIALIZER,
                            .left = PTHREAD_COND_INITIALIZER};
    s->helping = (struct qb_helping){.mutex = &s->loop.mutex,
                                     .posted = &s->loop.posted,
                                     .left = &s->loop.left,
                                     .topo = s->topo,
                                     .workers = s->n};
    s->crew = (struct qb_crew){qb_helping_hands, qb_helping_each, &s->helping};
    s->aside = (struct qb_aside)QB_ASIDE_NONE;
    qb_later_begin(&s->later, s->topo, s->pace);
#pragma omp parallel num_threads(s->n + s->has_aside)
    if (omp_get_thread_num() == 0) {
        /* The runtime may have given fewer threads than last time. */
        s->running = omp_get_num_threads() == (int)(s->n + s->has_aside);
        run_body(s, body, arg);
    } else if (omp_get_thread_num() == (int)s->n) {
        qb_aside_serve(&s->aside, s->workers[s->n].io);
    } else {
        serve(s, (unsigned)omp_get_thread_num());
    }
}

void qb_sched_aside(struct qb_sched *s, qb_aside_fn *fn, void *arg)
{
    if (s->running && s->has_aside)
        qb_aside_post(&s->aside, fn, arg);
    else
        fn(arg, s->workers[0].io);
}

void qb_sched_aside_wait(struct qb_sched *s)
{
    if (s->running && s->has_aside)
        qb_aside_wait(&s->aside);
}

void qb_sched_later(struct qb_sched *s, struct qb_io *own, qb_sched_fn *fn, void *arg, size_t i)
{
    if (!s->running || !qb_later_post(&s->later, fn, arg, i))
        fn(arg, own, i);
}

void qb_sched_later_wait(struct qb_sched *s)
{
    if (s->running)
        qb_later_wait(&s->later);
}

static void post(struct qb_sched *s, size_t n, bool for_all, qb_sched_fn *fn, void *arg)
{
    struct loop *l = &s->loop;

    pthread_mutex_lock(&l->mutex);
    l->n = n;
    l->for_all = for_all;
    l->fn = fn;
    l->arg = arg;
    atomic_store(&l->next, 0);
    l->inside = s->n - 1;
    l->number++;
    pthread_cond_broadcast(&l->posted);
    pthread_mutex_unlock(&l->mutex);
}

static void wait_for_others(struct qb_sched *s)
{
    struct loop *l = &s->loop;

    pthread_mutex_lock(&l->mutex);
    for (qb_helping_help(&s->helping); l->inside > 0; qb_helping_help(&s->helping))
        pthread_cond_wait(&l->left, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
}

void qb_sched_each(struct qb_sched *s, size_t n, qb_sched_fn *fn, void *arg)
{
    if (!s->running || s->n == 1 || n == 1) { /* not worth waking anybody */
        for (size_t i = 0; i < n; i++)
            fn(arg, s->workers[0].io, i);
        return;
    }
    post(s, n, false, fn, arg);
    take_part(s, 0);
    wait_for_others(s);
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

    if (s->running && s->has_aside) {
        qb_sched_aside_wait(s);
        qb_sched_aside(s, call_beside, &beside);
        qb_sched_aside_wait(s);
    }
    if (s->running && s->n > 1) {
        post(s, 0, true, fn, arg);
        wait_for_others(s);
    }
    fn(arg, s->workers[0].io, 0);
}

struct qb_io *qb_sched_io(struct qb_sched *s)
{
    return s->workers[0].io;
}

void qb_sched_loosen(struct qb_sched *s)
{
    qb_topo_unbind(s->topo);
}

void qb_sched_fasten(struct qb_sched *s)
{
    qb_topo_bind(s->topo, 0);
}

unsigned qb_sched_workers(const struct qb_sched *s)
{
    return s->n;
}

unsigned qb_sched_number(const struct qb_sched *s, const struct qb_io *io)
{
    unsigned i = 0;

    while (i + 1 < s->n && s->workers[i].io != io)
        i++;
    return i;
}

unsigned qb_sched_openmp(void)
{
    return _OPENMP;
}
