#include "wave/per_fs.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/own.h"

/* The slots of one file system: order[next .. end) are still to be done. */
struct group {
    atomic_size_t next;
    size_t end;
};

struct lanes {
    struct qb_wave *wave;
    qb_sched_fn *fn;
    size_t *order; /* slots, sorted by file system */
    struct group *groups;
    size_t *group_of; /* of each lane */
    size_t n_lanes;
};

static void run_lane(void *arg, struct qb_io *io, size_t lane)
{
    struct lanes *l = arg;
    struct group *g = &l->groups[l->group_of[lane]];
    size_t i;

    while ((i = atomic_fetch_add(&g->next, 1)) < g->end)
        l->fn(l->wave, io, l->order[i]);
}

static int by_filesystem(const void *a, const void *b, void *arg)
{
    const struct qb_slot *slots = arg;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;

    if (slots[i].dev != slots[j].dev)
        return slots[i].dev < slots[j].dev ? -1 : 1;
    return i < j ? -1 : i > j;
}

static void make_lanes(struct lanes *l, unsigned each)
{
    const struct qb_slot *slots = l->wave->slots;
    size_t n = l->wave->n, n_groups = 0;

    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && slots[l->order[end]].dev == slots[l->order[first]].dev;)
            end++;
        atomic_init(&l->groups[n_groups].next, first);
        l->groups[n_groups].end = end;
        for (unsigned k = 0; k < QB_MIN((size_t)each, end - first); k++)
            l->group_of[l->n_lanes++] = n_groups;
        n_groups++;
    }
}

void qb_lanes_each(struct qb_wave *wave, unsigned more, qb_sched_fn *fn)
{
    unsigned each = wave->limits->jobs_per_filesystem;
    QB_AUTO(qb_buf) size_t *order = NULL, *group_of = NULL;
    QB_AUTO(qb_buf) struct group *groups = NULL;
    struct lanes l = {.wave = wave, .fn = fn};

    if (each == 0 || each >= qb_sched_workers(wave->sched)) {
        qb_sched_each_waiting(wave->sched, wave->n, each == 0 ? more : 0, fn, wave);
        return;
    }
    l.order = order = malloc(wave->n * sizeof(*order));
    l.group_of = group_of = malloc(wave->n * sizeof(*group_of));
    l.groups = groups = malloc(wave->n * sizeof(*groups));
    if (!order || !group_of || !groups) { /* one at a time keeps every limit */
        for (size_t i = 0; i < wave->n; i++)
            fn(wave, qb_sched_io(wave->sched), i);
        return;
    }
    for (size_t i = 0; i < wave->n; i++)
        order[i] = i;
    qsort_r(order, wave->n, sizeof(*order), by_filesystem, wave->slots);
    make_lanes(&l, each);
    qb_sched_each(wave->sched, l.n_lanes, run_lane, &l);
}
