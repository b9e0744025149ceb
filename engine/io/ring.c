/* The io_uring back end; this file and ring_setup.c are all that use liburing.
 *
 * A ring of DEPTH slots.  A request takes a slot, is queued as an SQE, belongs to the kernel once
 * submitted, and frees the slot when its last byte is there; a short read is queued again with the
 * rest.  The run ends when all slots are free again, so no buffer of the caller is in the kernel's
 * hands afterwards, not even when the ring fails: then the queued requests are done with plain
 * calls, the submitted ones waited for, and the ring is not used any more.
 *
 * A fill that comes alone has the ring to itself: it is cut into blocks of zeros, FILLS of them in
 * the kernel's hands, each written from the same registered buffer. */
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/backend.h"
#include "io/ring_setup.h"

#define DEPTH    128
#define PATIENCE 1000 /* how often the kernel may return "later" with nothing in flight */
#define FILLS    16   /* blocks of zeros in flight */

struct slot {
    struct qb_req *req;
    uint64_t done; /* bytes */
};

struct ring {
    struct qb_io io;
    struct io_uring uring;
    bool broken;
    bool zeros_asked, zeros_registered;
    unsigned stalls;
    struct slot slots[DEPTH];
    unsigned char free[DEPTH]; /* a stack of slot numbers */
    unsigned n_free;
    unsigned char queued[DEPTH]; /* slots whose SQE is not submitted yet, oldest at `first` */
    unsigned first, n_queued;
};

static unsigned in_kernel(const struct ring *r)
{
    return DEPTH - r->n_free - r->n_queued;
}

static void finish(struct ring *r, unsigned s, int errnum)
{
    r->slots[s].req->error = errnum;
    r->free[r->n_free++] = (unsigned char)s;
}

static void prepare(struct io_uring_sqe *sqe, const struct slot *slot)
{
    const struct qb_req *req = slot->req;
    int fd = qb_file_make_blocking(req->file);
    unsigned some = (unsigned)QB_MIN(req->len - slot->done, QB_TRANSFER_MAX);

    if (req->op == QB_OP_READ)
        io_uring_prep_read(sqe, fd, (char *)req->buf + slot->done, some, req->offset + slot->done);
    else
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
}

/* Queues the slot's request, or what is left of it. */
static void queue(struct ring *r, unsigned s)
{
    struct io_uring_sqe *sqe = r->broken ? NULL : io_uring_get_sqe(&r->uring);

    if (!sqe) {
        finish(r, s, qb_posix_do(r->slots[s].req, r->slots[s].done));
        return;
    }
    prepare(sqe, &r->slots[s]);
    io_uring_sqe_set_data64(sqe, s);
    r->queued[(r->first + r->n_queued++) % DEPTH] = (unsigned char)s;
}

static unsigned dequeue(struct ring *r)
{
    unsigned s = r->queued[r->first];

    r->first = (r->first + 1) % DEPTH;
    r->n_queued--;
    return s;
}

static void have_read(struct ring *r, unsigned s, unsigned bytes)
{
    struct slot *slot = &r->slots[s];

    slot->done += bytes;
    if (slot->done >= slot->req->len)
        finish(r, s, 0);
    else if (bytes == 0)
        finish(r, s, ENODATA);
    else
        queue(r, s);
}

/* Handles the completion of slot s. */
static void complete(struct ring *r, unsigned s, int res)
{
    const struct slot *slot = &r->slots[s];

    if (res == -EINTR)
        queue(r, s);
    else if (res == -EAGAIN) /* a plain call waits for the resource that the kernel lacks */
        finish(r, s, qb_posix_do(slot->req, slot->done));
    else if (res < 0)
        finish(r, s, qb_kernel_errno(-res));
    else if (slot->req->op == QB_OP_READ)
        have_read(r, s, (unsigned)res);
    else
        finish(r, s, 0);
}

static void reap(struct ring *r)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&r->uring, &cqe) == 0) {
        unsigned s = (unsigned)io_uring_cqe_get_data64(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&r->uring, cqe);
        complete(r, s, res);
    }
}

/* Abandons the ring without leaving a buffer to the kernel. */
static void abandon(struct ring *r)
{
    struct io_uring_cqe *cqe;

    r->broken = true;
    while (r->n_queued) {
        unsigned s = dequeue(r);

        finish(r, s, qb_posix_do(r->slots[s].req, r->slots[s].done));
    }
    while (in_kernel(r)) {
        /* Completions arrive in shared memory even if waiting for them fails. */
        if (io_uring_wait_cqe(&r->uring, &cqe) < 0)
            usleep(100);
        reap(r);
    }
}

/* The kernel did not take what was queued. */
static void stalled(struct ring *r, int errnum)
{
    struct io_uring_cqe *cqe;

    if (errnum == EINTR)
        return;
    if (errnum != EAGAIN && errnum != EBUSY) {
        abandon(r);
    } else if (in_kernel(r)) {
        io_uring_wait_cqe(&r->uring, &cqe); /* memory comes back with each completion */
    } else if (++r->stalls > PATIENCE) {
        abandon(r);
    } else {
        sched_yield();
    }
}

static void submit(struct ring *r)
{
    int taken = io_uring_submit_and_wait(&r->uring, 1);

    if (taken < 0)
        stalled(r, -taken);
    for (; taken > 0 && r->n_queued; taken--)
        dequeue(r);
    reap(r);
}

/* A write is a copy into the page cache, which the ring would pass to another kernel thread if the
 * file system may block (ext4: half the speed).  Extent operations on one file are serialised by
 * the kernel anyway; and a request that is in the ring when the program is killed keeps the file,
 * with its locks, open slightly longer.  A ring cannot resize a file. */
static bool is_better_called(const struct qb_req *req)
{
    return req->op != QB_OP_READ && req->op != QB_OP_SYNC;
}

/* Starts as many requests as there are free slots; returns the index of the next one. */
static size_t feed(struct ring *r, struct qb_req *reqs, size_t next, size_t n)
{
    for (; next < n && r->n_free; next++) {
        struct qb_req *req = &reqs[next];
        unsigned s;

        if (qb_req_is_void(req))
            continue;
        if (is_better_called(req)) {
            req->error = qb_posix_do(req, 0);
            continue;
        }
        s = r->free[--r->n_free];
        r->slots[s] = (struct slot){.req = req};
        queue(r, s);
    }
    return next;
}

struct fill {
    int fd;
    struct qb_range left; /* not queued yet */
    unsigned queued, in_kernel;
    int error;
    bool lost; /* the ring failed, and it is unknown which blocks are written */
};

/* The buffer that every fill writes from, registered with the kernel once.  If the limit on locked
 * memory does not permit it, plain writes are used. */
static bool zeros_are_registered(struct ring *r)
{
    struct iovec all = {(void *)(uintptr_t)qb_zeros(), QB_ZEROS_BYTES};

    if (!r->zeros_asked)
        r->zeros_registered = io_uring_register_buffers(&r->uring, &all, 1) == 0;
    r->zeros_asked = true;
    return r->zeros_registered;
}

static void fill_feed(struct ring *r, struct fill *f)
{
    while (!f->error && f->left.first < f->left.end && f->queued + f->in_kernel < FILLS) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
        unsigned len = (unsigned)QB_MIN(f->left.end - f->left.first, QB_ZEROS_BYTES);

        if (!sqe) {
            f->lost = true;
            return;
        }
        if (zeros_are_registered(r))
            io_uring_prep_write_fixed(sqe, f->fd, qb_zeros(), len, f->left.first, 0);
        else
            io_uring_prep_write(sqe, f->fd, qb_zeros(), len, f->left.first);
        io_uring_sqe_set_data64(sqe, f->left.first);
        f->left.first += len;
        f->queued++;
    }
}

static void fill_reap(struct ring *r, struct fill *f)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&r->uring, &cqe) == 0) {
        uint64_t first = io_uring_cqe_get_data64(cqe);
        struct qb_range block = {first, QB_MIN(first + QB_ZEROS_BYTES, f->left.end)};
        int res = cqe->res;

        io_uring_cqe_seen(&r->uring, cqe);
        f->in_kernel--;
        if (res < 0 && res != -EINTR && res != -EAGAIN) {
            f->error = f->error ? f->error : qb_kernel_errno(-res);
            continue;
        }
        block.first += (unsigned)QB_MAX(res, 0);
        if (!f->error) /* the rest of a short write */
            f->error = qb_fill_direct(NULL, f->fd, &block);
    }
}

static void fill_submit(struct ring *r, struct fill *f)
{
    int taken = io_uring_submit_and_wait(&r->uring, 1);
    struct io_uring_cqe *cqe;

    if (taken > 0) {
        f->queued -= (unsigned)taken;
        f->in_kernel += (unsigned)taken;
    } else if ((taken == -EAGAIN || taken == -EBUSY) && f->in_kernel) {
        io_uring_wait_cqe(&r->uring, &cqe); /* memory comes back with each completion */
    } else if (taken < 0 && taken != -EINTR) {
        f->lost = true;
    }
    fill_reap(r, f);
}

/* Blocks may be left when none is in flight: the kernel can complete all at once. */
static bool fill_goes_on(const struct fill *f)
{
    bool more = !f->error && f->left.first < f->left.end;

    return !f->lost && (more || f->queued + f->in_kernel);
}

/* A qb_fill_fn. */
static int ring_fill(void *arg, int fd, struct qb_range *left)
{
    struct ring *r = arg;
    struct fill f = {.fd = fd, .left = *left};

    while (fill_goes_on(&f)) {
        fill_feed(r, &f);
        if (!f.lost)
            fill_submit(r, &f);
    }
    r->broken |= f.lost; /* queued requests stay queued */
    while (f.in_kernel) {
        struct io_uring_cqe *cqe;

        if (io_uring_wait_cqe(&r->uring, &cqe) < 0)
            usleep(100);
        fill_reap(r, &f);
    }
    if (f.lost)
        return qb_fill_direct(NULL, fd, left);
    if (!f.error)
        left->first = f.left.first;
    return f.error;
}

static void run_alone(struct ring *r, struct qb_req *req)
{
    if (qb_req_is_void(req))
        return;
    if (req->op == QB_OP_FILL && !r->broken)
        req->error = qb_fill(req, ring_fill, r);
    else
        req->error = qb_posix_do(req, 0);
}

static void ring_run(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    struct ring *r = (struct ring *)io;
    size_t next = 0;

    /* A single request has nothing to overlap with, and a plain call is cheaper. */
    if (n == 1) {
        run_alone(r, reqs);
        return;
    }
    r->stalls = 0;
    do {
        next = feed(r, reqs, next, n);
        if (r->n_free < DEPTH)
            submit(r);
    } while (next < n || r->n_free < DEPTH);
}

static void ring_close(struct qb_io *io)
{
    struct ring *r = (struct ring *)io;

    io_uring_queue_exit(&r->uring);
    free(r);
}

static const struct qb_io_ops ring_ops = {
    .name = "uring", .run = ring_run, .run_part = qb_posix_run, .close = ring_close};

int qb_ring_open(struct qb_io **out)
{
    struct ring *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return ENOMEM;
    rc = qb_ring_setup(DEPTH, &r->uring);
    if (rc) {
        free(r);
        return rc;
    }
    r->io.ops = &ring_ops;
    for (unsigned s = 0; s < DEPTH; s++)
        r->free[r->n_free++] = (unsigned char)s;
    *out = &r->io;
    return 0;
}
