#include "batch/sched.h"

#include <omp.h>
#include <stdlib.h>

#include "base/own.h"
#include "batch/topo.h"

struct worker {
    struct qb_io *io;
    const char *fell_back;
    struct qb_err err;
};

struct qb_sched {
    unsigned n; /* never more threads than this in a loop */
    struct qb_topo *topo;
    struct worker workers[];
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
        qb_io_open(kind, &s->workers[me].io, &s->workers[me].fell_back, &s->workers[me].err);
    }
    return got;
}

int qb_sched_open(unsigned workers, enum qb_io_kind kind, struct qb_sched **out,
                  const char **fell_back, struct qb_err *err)
{
    QB_AUTO(close_sched)
    struct qb_sched *s = calloc(1, sizeof(*s) + workers * sizeof(s->workers[0]));

    if (!s)
        return qb_fail_memory(err);
    omp_set_dynamic(0);
    s->n = workers;
    s->topo = qb_topo_open(workers);
    s->n = open_workers(s, kind);
    if (fell_back)
        *fell_back = s->workers[0].fell_back;
    for (unsigned i = 0; i < s->n; i++)
        if (!s->workers[i].io) {
            *err = s->workers[i].err;
            return -1;
        }
    *out = qb_take(&s);
    return 0;
}

void qb_sched_close(struct qb_sched *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->n; i++)
        if (s->workers[i].io)
            qb_io_close(s->workers[i].io);
    qb_topo_close(s->topo);
    free(s);
}

void qb_sched_each(struct qb_sched *s, size_t n, qb_sched_fn *fn, void *arg)
{
    if (s->n == 1 || n == 1) { /* not worth waking anybody */
        for (size_t i = 0; i < n; i++)
            fn(arg, s->workers[0].io, i);
        return;
    }
#pragma omp parallel for num_threads(s->n) schedule(dynamic)
    for (size_t i = 0; i < n; i++)
        fn(arg, s->workers[omp_get_thread_num()].io, i);
}

struct qb_io *qb_sched_io(struct qb_sched *s)
{
    return s->workers[0].io;
}

unsigned qb_sched_workers(const struct qb_sched *s)
{
    return s->n;
}
