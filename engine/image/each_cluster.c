#include "image/each_cluster.h"

#include <stdatomic.h>
#include <stdlib.h>

#define BATCH_BYTES (64u << 20)
#define ASK_EVERY   256u /* clusters in holes are not read */

struct hand {
    struct qb_file file, ahead; /* each with its own memory of holes */
    struct qb_reads reads;
    size_t failed; /* the first slice that did; SIZE_MAX: none */
    struct qb_err err;
};

struct loop {
    const struct qb_each_cluster *e;
    size_t first, end; /* clusters */
    size_t slice;      /* clusters in one */
    size_t depth;      /* clusters that are read ahead */
    unsigned n_hands;
    struct hand *hands;
    atomic_size_t failed; /* the first slice that did */
};

static size_t slice_of(const struct qb_each_cluster *e)
{
    return qb_max(qb_io_slice(e->io) / e->cluster_size, 1);
}

/* Less than half of a window is not worth waking a thread for. */
unsigned qb_each_cluster_hands(const struct qb_each_cluster *e)
{
    size_t least = qb_max(qb_io_window(e->io) / 2 / e->cluster_size, 2), worth = e->n / least;

    return worth < 2 ? 1 : (unsigned)qb_min(worth, qb_io_readers(e->io));
}

uint64_t qb_each_cluster_memory(const struct qb_each_cluster *e)
{
    return slice_of(e) * (e->cluster_size + sizeof(struct qb_req) + sizeof(size_t)) +
           sizeof(struct hand);
}

size_t qb_each_cluster_batch(const struct qb_each_cluster *e)
{
    size_t slice = slice_of(e);

    return QB_MAX(BATCH_BYTES / e->cluster_size / slice, 1) * slice;
}

static bool is_empty(const struct qb_each_cluster *e, size_t i)
{
    uint64_t offset = e->place(e->list, i);

    return offset == 0 || qb_file_is_hole(e->file, offset, e->cluster_size);
}

int qb_each_cluster_skip(const struct qb_each_cluster *e, size_t *i, struct qb_err *err)
{
    for (; *i < e->n && is_empty(e, *i); ++*i)
        if (*i % ASK_EVERY == 0 && qb_io_go_on(e->io, err) < 0)
            return -1;
    return 0;
}

static int read_slice(struct loop *l, struct hand *h, size_t first, size_t end, struct qb_err *err)
{
    const struct qb_each_cluster *e = l->e;
    size_t failed;

    qb_reads_begin(&h->reads);
    for (size_t i = first; i < end; i++)
        qb_reads_add(&h->reads, i, e->place(e->list, i), true);
    failed = l->n_hands > 1 ? qb_io_read_part(e->io, h->reads.reqs, h->reads.n_reqs)
                            : qb_io_run(e->io, h->reads.reqs, h->reads.n_reqs);
    return failed ? qb_reads_fail(&h->reads, e->what, err) : 0;
}

static int handle_slice(struct loop *l, unsigned who, size_t first, size_t end, struct qb_err *err)
{
    const struct qb_each_cluster *e = l->e;
    struct hand *h = &l->hands[who];

    if (who == 0 && qb_io_go_on(e->io, err) < 0)
        return -1;
    qb_reads_ahead(&h->ahead, e->cluster_size, e->place, e->list, QB_MIN(first + l->depth, e->n),
                   QB_MIN(end + l->depth, e->n));
    if (read_slice(l, h, first, end, err) < 0)
        return -1;
    for (size_t i = 0; i < h->reads.n; i++)
        if (e->fn(e->arg, who, h->reads.which[i], qb_reads_cluster(&h->reads, i), err) < 0)
            return -1;
    return 0;
}

/* A qb_part_fn.  Slices before the first that failed are all handled, so that it does not depend on
 * the threads which one is reported. */
static void take_slice(void *arg, unsigned who, size_t i)
{
    struct loop *l = arg;
    struct hand *h = &l->hands[who];
    size_t first = l->first + i * l->slice, before = atomic_load(&l->failed);
    struct qb_err err = {.code = QB_E_NONE};

    if (i > before || handle_slice(l, who, first, QB_MIN(first + l->slice, l->end), &err) == 0)
        return;
    while (i < before && !atomic_compare_exchange_weak(&l->failed, &before, i))
        ;
    if (i < h->failed) {
        h->failed = i;
        h->err = err;
    }
}

static int open_hands(struct loop *l, struct qb_err *err)
{
    l->hands = calloc(l->n_hands, sizeof(*l->hands));
    if (!l->hands)
        return qb_fail_memory(err);
    for (unsigned i = 0; i < l->n_hands; i++) {
        struct hand *h = &l->hands[i];

        h->file = h->ahead = qb_file_part(l->e->file);
        h->failed = SIZE_MAX;
        if (qb_reads_open(&h->reads, l->n_hands > 1 ? &h->file : l->e->file, l->e->cluster_size,
                          QB_MIN(l->slice, l->end - l->first), err) < 0)
            return -1;
    }
    return 0;
}

static int close_hands(struct loop *l, int r, struct qb_err *err)
{
    size_t failed = atomic_load(&l->failed);

    for (unsigned i = 0; l->hands && i < l->n_hands; i++) {
        struct hand *h = &l->hands[i];

        qb_file_add_part(l->e->file, &h->file);
        if (r == 0 && failed != SIZE_MAX && h->failed == failed) {
            r = -1;
            if (err)
                *err = h->err;
        }
        qb_reads_close(&h->reads);
    }
    free(l->hands);
    return r;
}

int qb_each_cluster(const struct qb_each_cluster *e, size_t first, size_t end, unsigned hands,
                    struct qb_err *err)
{
    struct loop l = {.e = e, .first = first, .end = end, .slice = slice_of(e), .n_hands = hands};
    int r;

    atomic_init(&l.failed, SIZE_MAX);
    l.depth = qb_div_up(QB_READ_AHEAD / e->cluster_size, l.slice) * l.slice;
    if (first >= end)
        return 0;
    r = open_hands(&l, err);
    /* Later ones have been asked for by those before, unless these were skipped. */
    if (r == 0 && e->n > l.slice && (first == 0 || is_empty(e, first - 1)))
        qb_reads_ahead(&l.hands[0].ahead, e->cluster_size, e->place, e->list, first,
                       QB_MIN(first + l.depth, e->n));
    if (r == 0)
        qb_io_each(e->io, qb_div_up(end - first, l.slice), hands, take_slice, &l);
    return close_hands(&l, r, err);
}
