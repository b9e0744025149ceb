/* The posix back end: one system call after the other.  The ring uses it too, where a ring does not
 * help. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/backend.h"

static int transfer(const struct qb_req *req, uint64_t done)
{
    while (done < req->len) {
        size_t some = QB_MIN(req->len - done, QB_TRANSFER_MAX);
        char *at = (char *)req->buf + done;
        off_t offset = (off_t)(req->offset + done);
        ssize_t got = req->op == QB_OP_READ ? pread(req->file->fd, at, some, offset)
                                            : pwrite(req->file->fd, at, some, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return qb_kernel_errno(errno);
        if (got == 0)
            return req->op == QB_OP_READ ? ENODATA : EIO;
        done += (uint64_t)got;
    }
    return 0;
}

static int call(const struct qb_req *req)
{
    int fd = req->file->fd;
    off_t offset = (off_t)req->offset, len = (off_t)req->len;

    switch (req->op) {
    case QB_OP_ZERO:
        return fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, len);
    case QB_OP_PUNCH:
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
    case QB_OP_SET_SIZE:
        return req->file->is_block_device ? 0 : ftruncate(fd, offset);
    case QB_OP_SYNC:
        return fdatasync(fd);
    default:
        errno = EINVAL;
        return -1;
    }
}

int qb_posix_do(const struct qb_req *req, uint64_t done)
{
    if (req->op == QB_OP_READ || req->op == QB_OP_WRITE)
        return transfer(req, done);
    if (req->op == QB_OP_FILL)
        return qb_fill(req, qb_fill_direct, NULL);
    while (call(req) < 0) {
        /* An interrupted sync has not reported an error, so this does not retry a failed one. */
        if (errno != EINTR)
            return qb_kernel_errno(errno);
    }
    return 0;
}

void qb_posix_run(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    (void)io;
    for (size_t i = 0; i < n; i++) {
        if (!qb_req_is_void(&reqs[i]))
            reqs[i].error = qb_posix_do(&reqs[i], 0);
    }
}

static void posix_close(struct qb_io *io)
{
    free(io);
}

static const struct qb_io_ops posix_ops = {
    .name = "posix", .run = qb_posix_run, .run_part = qb_posix_run, .close = posix_close};

int qb_posix_open(struct qb_io **out)
{
    struct qb_io *io = calloc(1, sizeof(*io));

    if (!io)
        return ENOMEM;
    io->ops = &posix_ops;
    *out = io;
    return 0;
}
