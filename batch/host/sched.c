#include <omp.h>
#include <stdlib.h>

#include "base/own.h"
#include "host/heap.h"
#include "host/sched_parts.h"
#include "host/topo.h"

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
    s->owners = owners;
    for (unsigned i = 0; i < s->n + s->has_aside; i++)
        qb_io_set_owners(s->workers[i].io, owners);
}

void qb_sched_set_opener(struct qb_sched *s, const struct qb_opener *opener)
{
    s->opener = opener;
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
    s->loop = (struct qb_loop){.mutex = PTHREAD_MUTEX_INITIALIZER,
                               .posted = PTHREAD_COND_INITIALIZER,
                               .left = PTHREAD_COND_INITIALIZER};
    s->waited = (struct qb_waited){0};
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
        qb_loop_serve(s, (unsigned)omp_get_thread_num());
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

unsigned qb_sched_number(struct qb_sched *s, const struct qb_io *io)
{
    unsigned i = 0;

    while (i < s->n && s->workers[i].io != io)
        i++;
    return i < s->n ? i : s->n + qb_later_number(&s->later, io);
}

unsigned qb_sched_openmp(void)
{
    return _OPENMP;
}
