#include "kernel.h"

#include <errno.h>
#include <liburing.h>
#include <sys/uio.h>

static bool counting, onwards, failed_sync;
static uint64_t calls, nth;
static int how;
static unsigned seen; /* completions of the ring */

void kernel_fails(uint64_t number, int what, bool and_on)
{
    counting = true;
    onwards = and_on;
    failed_sync = false;
    calls = 0;
    nth = number;
    how = what;
    seen = 0;
}

uint64_t kernel_is_back(void)
{
    counting = false;
    return calls;
}

bool kernel_failed_a_sync(void)
{
    return failed_sync;
}

static bool is_due(void)
{
    uint64_t number = counting ? calls++ : 0;

    return counting && (number == nth || (number > nth && onwards));
}

/* Whether a call that is due does nothing at all, with errno set. */
static bool fails(void)
{
    errno = how;
    return how != KERNEL_SHORT;
}

ssize_t __real_pread64(int fd, void *buf, size_t n, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t n, off_t offset);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
int __real_ftruncate64(int fd, off_t size);
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __real_fdatasync(int fd);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
int __wrap_ftruncate64(int fd, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fdatasync(int fd);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);

ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset)
{
    if (!is_due())
        return __real_pread64(fd, buf, n, offset);
    return fails() ? -1 : __real_pread64(fd, buf, (n + 1) / 2, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t offset)
{
    if (!is_due())
        return __real_pwrite64(fd, buf, n, offset);
    return fails() ? -1 : __real_pwrite64(fd, buf, (n + 1) / 2, offset);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
    if (!is_due())
        return __real_pwritev64(fd, iov, n, offset);
    return fails() ? -1 : __real_pwrite64(fd, iov->iov_base, (iov->iov_len + 1) / 2, offset);
}

int __wrap_ftruncate64(int fd, off_t size)
{
    return is_due() && fails() ? -1 : __real_ftruncate64(fd, size);
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
    return is_due() && fails() ? -1 : __real_fallocate64(fd, mode, offset, len);
}

int __wrap_fdatasync(int fd)
{
    if (!is_due() || !fails())
        return __real_fdatasync(fd);
    failed_sync |= how != EINTR;
    return -1;
}

/* A completion becomes another one.  That of a sync is known by its result, which is not a length.
 */
static void spoil(struct io_uring_cqe *cqe)
{
    if (how != KERNEL_SHORT) {
        failed_sync |= cqe->res == 0 && how != EINTR;
        cqe->res = -how;
    } else if (cqe->res > 1) {
        cqe->res = (cqe->res + 1) / 2;
    }
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    int rc = __real_io_uring_submit_and_wait(ring, n);
    unsigned head = *ring->cq.khead, tail = io_uring_smp_load_acquire(ring->cq.ktail);

    if ((int)(seen - head) < 0)
        seen = head;
    for (; seen != tail; seen++)
        if (is_due())
            spoil(&ring->cq.cqes[seen & *ring->cq.kring_mask]);
    return rc;
}
