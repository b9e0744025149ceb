/* The workers of the simulated host: one, to which everything happens in any order. */
#include <stdlib.h>

#include "host/sched.h"
#include "host/topo.h"
#include "host_parts.h"

enum { LATER_MAX = 8 };

struct qb_sched {
    struct qb_io *io;
    bool has_aside;
    qb_aside_fn *aside; /* NULL: nothing is under way */
    void *aside_arg;
    struct {
        qb_sched_fn *fn;
        void *arg;
        size_t i;
    } later[LATER_MAX];
    unsigned n_later;
};

struct qb_topo *__wrap_qb_topo_open(unsigned wanted, const struct qb_batch *batch);
unsigned __wrap_qb_topo_workers(const struct qb_topo *topo);
int __wrap_qb_sched_open(struct qb_topo *topo, enum qb_io_kind kind, bool aside,
                         struct qb_sched **out, const char **fell_back, struct qb_err *err);
void __wrap_qb_sched_close(struct qb_sched *s);
void __wrap_qb_sched_set_owners(struct qb_sched *s, struct qb_owners *owners);

void __wrap_qb_sched_set_owners(struct qb_sched *s, struct qb_owners *owners)
{
    qb_io_set_owners(s->io, owners);
}

void __wrap_qb_sched_run(struct qb_sched *s, void (*body)(void *arg), void *arg);
void __wrap_qb_sched_each(struct qb_sched *s, size_t n, qb_sched_fn *fn, void *arg);
void __wrap_qb_sched_each_waiting(struct qb_sched *s, size_t n, unsigned most, qb_sched_fn *fn,
                                  void *arg);
unsigned __wrap_qb_sched_more(const struct qb_sched *s);
void __wrap_qb_sched_aside(struct qb_sched *s, qb_aside_fn *fn, void *arg);
void __wrap_qb_sched_aside_wait(struct qb_sched *s);
void __wrap_qb_sched_later(struct qb_sched *s, struct qb_io *own, qb_sched_fn *fn, void *arg,
                           size_t i);
void __wrap_qb_sched_later_wait(struct qb_sched *s);
struct qb_io *__wrap_qb_sched_io(struct qb_sched *s);
unsigned __wrap_qb_sched_workers(const struct qb_sched *s);
unsigned __wrap_qb_sched_number(struct qb_sched *s, const struct qb_io *io);

struct qb_topo *__wrap_qb_topo_open(unsigned wanted, const struct qb_batch *batch)
{
    (void)wanted;
    (void)batch;
    return NULL;
}

unsigned __wrap_qb_topo_workers(const struct qb_topo *topo)
{
    (void)topo;
    return 1;
}

int __wrap_qb_sched_open(struct qb_topo *topo, enum qb_io_kind kind, bool aside,
                         struct qb_sched **out, const char **fell_back, struct qb_err *err)
{
    struct qb_sched *s = calloc(1, sizeof(*s));

    (void)topo;
    (void)kind;
    if (!s)
        return qb_fail_memory(err);
    s->io = host_open_disks();
    s->has_aside = aside;
    *fell_back = NULL;
    *out = s;
    return 0;
}

void __wrap_qb_sched_close(struct qb_sched *s)
{
    if (s)
        qb_io_close(s->io);
    free(s);
}

void __wrap_qb_sched_run(struct qb_sched *s, void (*body)(void *arg), void *arg)
{
    (void)s;
    body(arg);
}

void __wrap_qb_sched_aside_wait(struct qb_sched *s)
{
    qb_aside_fn *fn = s->aside;

    s->aside = NULL;
    if (fn)
        fn(s->aside_arg, s->io);
}

/* What goes on beside the loops comes to its end at any moment. */
void __wrap_qb_sched_aside(struct qb_sched *s, qb_aside_fn *fn, void *arg)
{
    s->aside = fn;
    s->aside_arg = arg;
    if (!s->has_aside || host_roll(3) == 0)
        __wrap_qb_sched_aside_wait(s);
}

/* So does what waits for the kernel, one before the other. */
static void end_one_of_later(struct qb_sched *s)
{
    unsigned which = host_roll(s->n_later);
    qb_sched_fn *fn = s->later[which].fn;
    void *arg = s->later[which].arg;
    size_t i = s->later[which].i;

    s->later[which] = s->later[--s->n_later];
    fn(arg, s->io, i);
}

void __wrap_qb_sched_later(struct qb_sched *s, struct qb_io *own, qb_sched_fn *fn, void *arg,
                           size_t i)
{
    if (s->n_later == LATER_MAX) {
        fn(arg, own, i);
        return;
    }
    s->later[s->n_later].fn = fn;
    s->later[s->n_later].arg = arg;
    s->later[s->n_later++].i = i;
}

void __wrap_qb_sched_later_wait(struct qb_sched *s)
{
    while (s->n_later > 0)
        end_one_of_later(s);
}

void __wrap_qb_sched_each(struct qb_sched *s, size_t n, qb_sched_fn *fn, void *arg)
{
    unsigned *order;

    host_at_work(true);
    order = host_shuffled(n);
    host_at_work(false);
    for (size_t i = 0; i < n; i++) {
        if (host_roll(12) == 0)
            __wrap_qb_sched_aside_wait(s);
        if (s->n_later > 0 && host_roll(3) == 0)
            end_one_of_later(s);
        fn(arg, s->io, order[i]);
    }
    free(order);
}

void __wrap_qb_sched_each_waiting(struct qb_sched *s, size_t n, unsigned most, qb_sched_fn *fn,
                                  void *arg)
{
    (void)most;
    __wrap_qb_sched_each(s, n, fn, arg);
}

unsigned __wrap_qb_sched_more(const struct qb_sched *s)
{
    (void)s;
    return 0;
}

struct qb_io *__wrap_qb_sched_io(struct qb_sched *s)
{
    return s->io;
}

unsigned __wrap_qb_sched_number(struct qb_sched *s, const struct qb_io *io)
{
    (void)s;
    (void)io;
    return 0;
}

unsigned __wrap_qb_sched_workers(const struct qb_sched *s)
{
    (void)s;
    return 1;
}
