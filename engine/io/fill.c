/* Writes zeros at the full speed of the disk.  A long stretch bypasses the page cache: the file is
 * opened once more, for direct writes, and the whole pages of the stretch are written through that
 * descriptor from one block of zeros, with many requests in flight.  Partial pages at either end,
 * short stretches, and files that do not support direct writes go through the page cache, with
 * writeback started on the way.
 *
 * QEMU's locks belong to the open file of the first descriptor, so closing the second one drops
 * none of them.  A write that is done twice does no harm: it is zeros either way. */
#include <fcntl.h>
#include <stdalign.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/backend.h"
#include "files/direct.h"

#define PAGE   4096u
#define BLOCKS 16 /* of zeros, in one system call */

/* Never written, so that it takes no memory: each of its pages is the kernel's page of zeros. */
static alignas(PAGE) unsigned char zeros[QB_ZEROS_BYTES];

const void *qb_zeros(void)
{
    return zeros;
}

/* Writes some zeros at the front of the range and shortens it by them: 0 or an errno. */
static int write_some(int fd, struct qb_range *left)
{
    struct iovec blocks[BLOCKS];
    uint64_t len = left->end - left->first;
    ssize_t put;
    int n = 0;

    for (; n < BLOCKS && len; n++) {
        blocks[n] = (struct iovec){zeros, QB_MIN(len, sizeof(zeros))};
        len -= blocks[n].iov_len;
    }
    put = pwritev(fd, blocks, n, (off_t)left->first);
    if (put < 0)
        return errno == EINTR ? 0 : qb_kernel_errno(errno);
    left->first += (uint64_t)put;
    return put == 0 ? EIO : 0;
}

int qb_fill_direct(void *unused, int fd, struct qb_range *left)
{
    int errnum = 0;

    (void)unused;
    while (left->first < left->end && !errnum)
        errnum = write_some(fd, left);
    return errnum;
}

/* Writes through the page cache.  Errors of the early writeback are reported by the barrier too. */
static int fill_cached(int fd, struct qb_range left)
{
    int errnum = 0;

    while (left.first < left.end && !errnum) {
        uint64_t from = left.first;

        errnum = write_some(fd, &left);
        if (left.first - from == (uint64_t)BLOCKS * sizeof(zeros))
            sync_file_range(fd, (off_t)from, (off_t)(left.first - from), SYNC_FILE_RANGE_WRITE);
    }
    return errnum;
}

/* Fills as much of the range as possible by direct writes, and shortens it by that. */
static int fill_past_cache(const struct qb_file *file, qb_fill_fn *how, void *arg,
                           struct qb_range *left)
{
    /* What is opened must not allow more than the file's own descriptor. */
    int fd = file->writable ? qb_direct_take(file, true) : -1;
    int errnum;

    if (fd < 0)
        return 0;
    errnum = how(arg, fd, left);
    qb_direct_leave(file, fd);
    /* EINVAL: this disk requires another alignment, or the file system has no direct writes. */
    return errnum == EINVAL || errnum == EOPNOTSUPP ? 0 : errnum;
}

int qb_fill(const struct qb_req *req, qb_fill_fn *how, void *arg)
{
    uint64_t end = req->offset + req->len;
    uint64_t page = qb_round_up(req->offset, PAGE), last_page = end / PAGE * PAGE;
    struct qb_range head = {req->offset, page}, tail = {last_page, end};
    struct qb_range body = {page, last_page};
    int fd = req->file->fd, errnum;

    if (req->len < QB_FILL_DIRECT_FROM)
        return fill_cached(fd, (struct qb_range){req->offset, end});
    errnum = fill_past_cache(req->file, how, arg, &body);
    if (!errnum)
        errnum = fill_cached(fd, body);
    if (!errnum)
        errnum = fill_cached(fd, head);
    return errnum ? errnum : fill_cached(fd, tail);
}
