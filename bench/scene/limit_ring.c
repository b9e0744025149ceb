/* Does the bare I/O of many files by io_uring: the requests of a file are one linked chain, which
 * opens it into a slot of the ring, reads, writes and closes it without a return to this program.
 * The only file of the bench that uses liburing. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "scene/limit_file.h"
#include "scene/limit_fleet.h"

enum {
    SLOTS = 64,            /* files in flight */
    CHAIN_MAX = 8,         /* requests of one file */
    BUFFER_MAX = 1u << 20, /* bytes that are read or appended of one file */
};

struct chains {
    const struct bench_limit *limit;
    struct io_uring ring;
    char *buf; /* per slot: the head, then what is read */
    char *zeros;
    size_t room; /* bytes of each slot's buffer */
    unsigned pass;
    unsigned free[SLOTS * CHAIN_MAX]; /* slots; more only after a failure, which ends everything */
    unsigned n_free;
};

static uint64_t tables_bytes(const struct bench_limit *l)
{
    return l->table_used < l->table_size ? l->table_used : l->tables * l->table_size;
}

bool bench_limit_ring_can(const struct bench_limit *l)
{
    struct io_uring ring;

    if (l->grow_to || l->data_grow_to || l->copies || l->punches || l->cut_to)
        return false;
    if (l->tables > 1 && (l->tables_step != l->table_size || l->table_used < l->table_size))
        return false;
    if (l->append_size && l->append_used < l->table_size)
        return false;
    if (l->l1s > 1 || l->l1_size > BUFFER_MAX || l->tables * l->table_size > BUFFER_MAX ||
        l->blocks_size > BUFFER_MAX || l->append_size > BUFFER_MAX)
        return false;
    if (io_uring_queue_init(SLOTS, &ring, 0) < 0)
        return false;
    io_uring_queue_exit(&ring);
    return true;
}

static int ring_complain(int error)
{
    errno = -error;
    return bench_limit_complain("io_uring");
}

/* ---- one chain ------------------------------------------------------------------------------- */

/* Every request but the last one of a chain is linked to the next one; those that succeed say
 * nothing, so that one completion is all that a whole chain costs. */
static struct io_uring_sqe *next(struct chains *c, unsigned slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);

    sqe->user_data = slot;
    return sqe;
}

static void link_on(struct io_uring_sqe *sqe)
{
    sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
}

static void transfer(struct chains *c, unsigned slot, bool write, void *buf, uint64_t bytes,
                     uint64_t at)
{
    struct io_uring_sqe *sqe;

    if (!bytes)
        return;
    sqe = next(c, slot);
    if (write)
        io_uring_prep_write(sqe, (int)slot, buf, (unsigned)bytes, at);
    else
        io_uring_prep_read(sqe, (int)slot, buf, (unsigned)bytes, at);
    sqe->user_data = slot;
    sqe->flags |= IOSQE_FIXED_FILE;
    link_on(sqe);
}

static void queue_file(struct chains *c, unsigned slot, const char *name)
{
    const struct bench_limit *l = c->limit;
    char *head = c->buf + slot * c->room, *rest = head + BENCH_LIMIT_HEAD;
    struct io_uring_sqe *sqe = next(c, slot);

    io_uring_prep_openat_direct(sqe, AT_FDCWD, name, (l->flip ? O_RDWR : O_RDONLY) | O_NOATIME, 0,
                                slot);
    sqe->user_data = slot;
    link_on(sqe);
    transfer(c, slot, false, head, l->head, 0);
    if (c->pass & BENCH_LIMIT_APPEND) {
        transfer(c, slot, false, rest, l->l1_size * l->l1s, l->l1s_at);
        transfer(c, slot, false, rest, tables_bytes(l) * (l->tables > 0), l->tables_at);
        transfer(c, slot, false, rest, l->blocks_size, l->blocks_at);
        transfer(c, slot, true, c->zeros, l->append_size, l->append_at);
    }
    if (c->pass & BENCH_LIMIT_FLIP)
        transfer(c, slot, true, head, QB_SECTOR, 0);
    sqe = next(c, slot);
    io_uring_prep_close_direct(sqe, slot);
    sqe->user_data = slot;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Frees the slots of the chains that have ended, waiting for some of them. */
static int reap(struct chains *c)
{
    struct io_uring_cqe *cqe;
    unsigned at, seen = 0;
    int r = io_uring_submit_and_wait(&c->ring, QB_MIN(SLOTS - c->n_free, SLOTS / 4)), worst = 0;

    if (r < 0)
        return ring_complain(r);
    io_uring_for_each_cqe(&c->ring, at, cqe)
    {
        if (cqe->res < 0)
            worst = cqe->res;
        c->free[c->n_free++] = (unsigned)cqe->user_data;
        seen++;
    }
    io_uring_cq_advance(&c->ring, seen);
    return worst < 0 ? ring_complain(worst) : 0;
}

static int run_chains(struct chains *c, const struct bench_limit_names *names, size_t first,
                      size_t step)
{
    size_t i = first;
    int r = 0;

    while (r == 0 && (i < names->n || c->n_free < SLOTS)) {
        for (; c->n_free && i < names->n; i += step)
            queue_file(c, c->free[--c->n_free], names->items[i].name);
        r = reap(c);
    }
    return r;
}

static int open_chains(struct chains *c)
{
    const struct bench_limit *l = c->limit;
    int r = io_uring_queue_init(SLOTS * CHAIN_MAX, &c->ring, 0);

    if (r < 0)
        return ring_complain(r);
    r = io_uring_register_files_sparse(&c->ring, SLOTS);
    if (r < 0)
        return ring_complain(r);
    while (c->n_free < SLOTS) {
        c->free[c->n_free] = c->n_free;
        c->n_free++;
    }
    c->room = BENCH_LIMIT_HEAD +
              qb_round_up(qb_max(l->l1_size, qb_max(tables_bytes(l), l->blocks_size)), 4096);
    c->buf = malloc(SLOTS * c->room);
    c->zeros = calloc(1, l->append_size + 1);
    return c->buf && c->zeros ? 0 : bench_limit_complain("memory");
}

int bench_limit_ring(const struct bench_limit *limit, const struct bench_limit_names *names,
                     size_t first, size_t step, unsigned pass)
{
    struct chains c = {.limit = limit, .pass = pass};
    int r = open_chains(&c);

    if (r == 0)
        r = run_chains(&c, names, first, step);
    if (c.ring.ring_fd > 0)
        io_uring_queue_exit(&c.ring);
    free(c.buf);
    free(c.zeros);
    return r;
}
