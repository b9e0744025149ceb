#include <omp.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/own.h"
#include "host/heap.h"
#include "host/sched_parts.h"
#include "host/topo.h"
#include "opener/opener.h"

static void close_sched(void *pp)
{
    qb_sched_close(*(struct qb_sched **)pp);
}

static int open_io(struct qb_sched *s, struct qb_worker *w)
{
    if (qb_io_open(s->kind, &w->io, &w->fell_back, &w->err) < 0)
        return -1;
    qb_io_set_window(w->io, qb_topo_window(s->topo));
    qb_io_spare_signals(w->io);
    return 0;
}

/* The thread beside the workers.  With more threads than cores libgomp's do not spin where they
 * wait for the end of the region, and after it: so there is one that sleeps where none is wanted.
 */
static void open_beside(struct qb_sched *s, bool wanted)
{
    struct qb_worker *w = &s->workers[s->n];

    if (s->n >= (unsigned)omp_get_thread_limit())
        return;
    s->has_aside = wanted && qb_io_open(s->kind, &w->io, NULL, &w->err) == 0;
    s->has_sleeper =
        !s->has_aside && s->n > 1 && qb_io_open(QB_IO_POSIX, &w->io, NULL, &w->err) == 0;
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
    s->n = (unsigned)qb_min(workers, (unsigned)omp_get_thread_limit());
    s->topo = topo;
    s->kind = kind;
    qb_topo_bind(topo, 0);
    if (open_io(s, &s->workers[0]) < 0) {
        *err = s->workers[0].err;
        return -1;
    }
    if (s->workers[0].fell_back)
        s->kind = QB_IO_POSIX; /* as it would be for the others */
    if (fell_back)
        *fell_back = s->workers[0].fell_back;
    open_beside(s, aside);
    *out = qb_take(&s);
    return 0;
}

void qb_sched_set_pace(struct qb_sched *s, struct qb_pace *pace)
{
    s->pace = pace;
    for (unsigned i = 0; i < s->n; i++)
        if (s->workers[i].io)
            qb_io_set_pace(s->workers[i].io, pace);
}

void qb_sched_set_owners(struct qb_sched *s, struct qb_owners *owners)
{
    s->owners = owners;
    for (unsigned i = 0; i <= s->n; i++)
        if (s->workers[i].io)
            qb_io_set_owners(s->workers[i].io, owners);
}

void qb_sched_set_opener(struct qb_sched *s, const struct qb_opener *opener)
{
    s->opener = opener;
    for (unsigned i = 0; i <= s->n; i++)
        if (s->workers[i].io)
            qb_opener_serve(opener, s->workers[i].io);
}

void qb_sched_close(struct qb_sched *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i <= s->n; i++)
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
        if (s->workers[i].io)
            qb_io_set_crew(s->workers[i].io, crew);
}

static unsigned threads_of(const struct qb_sched *s)
{
    return s->n + (s->has_aside || s->has_sleeper);
}

/* By a worker but the first, in its first run: a ring is set up by the thread that uses it. */
static void begin_worker(struct qb_sched *s, unsigned me)
{
    struct qb_worker *w = &s->workers[me];

    qb_topo_bind(s->topo, me);
    if (!w->io && (open_io(s, w) == 0 || qb_io_open(QB_IO_POSIX, &w->io, NULL, &w->err) == 0)) {
        qb_io_set_pace(w->io, s->pace);
        qb_io_set_owners(w->io, s->owners);
        qb_opener_serve(s->opener, w->io);
    }
    pthread_mutex_lock(&s->loop.mutex);
    s->loop.begun++;
    pthread_cond_broadcast(&s->loop.left);
    pthread_mutex_unlock(&s->loop.mutex);
}

/* Waits until each of them has begun: whoever forks then finds no thread in the middle of that.
 * Whether there are as many as planned; the runtime may have given fewer. */
static bool all_began(struct qb_sched *s, unsigned threads)
{
    unsigned workers = (unsigned)qb_min(threads, s->n);
    bool all = threads == threads_of(s);

    pthread_mutex_lock(&s->loop.mutex);
    while (s->loop.begun + 1 < workers)
        pthread_cond_wait(&s->loop.left, &s->loop.mutex);
    pthread_mutex_unlock(&s->loop.mutex);
    for (unsigned i = 0; i < workers; i++)
        all &= s->workers[i].io != NULL;
    return all;
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
#pragma omp parallel num_threads(threads_of(s))
    if (omp_get_thread_num() == 0) {
        s->running = all_began(s, (unsigned)omp_get_num_threads());
        run_body(s, body, arg);
    } else if (omp_get_thread_num() == (int)s->n) {
        qb_aside_serve(&s->aside, s->workers[s->n].io);
    } else {
        begin_worker(s, (unsigned)omp_get_thread_num());
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

void qb_sched_hold(struct qb_sched *s, bool held)
{
    qb_later_hold(&s->later, held);
    pthread_mutex_lock(&s->loop.mutex);
    s->helping.held = held;
    pthread_mutex_unlock(&s->loop.mutex);
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
