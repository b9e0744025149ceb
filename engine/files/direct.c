#include "files/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "files/way.h"

enum { DIRECT_BYTES = 4096 }; /* a multiple of the block size and alignment of all usual disks */

/* tmpfs accepts direct reads, but answers them from the page cache. */
static bool lives_in_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) < 0 || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

/* -1 if that fails. */
static int open_again(const struct qb_file *file, int flags)
{
    char self[QB_FD_PATH];
    struct stat st;
    int fd, set = fcntl(file->fd, F_GETFL);

    qb_fd_path(file->fd, self);
    fd = open(self, flags | (set < 0 ? 0 : set & O_NOATIME) | O_DIRECT | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

void qb_direct_keep(struct qb_file *file)
{
    if (file->mem || file->has_direct)
        return;
    file->direct = open_again(file, file->writable ? O_RDWR : O_RDONLY);
    file->has_direct = file->direct >= 0;
}

int qb_direct_take(const struct qb_file *file, bool writes)
{
    int fd = file->has_direct ? file->direct : open_again(file, writes ? O_WRONLY : O_RDONLY);

    if (fd < 0 || writes || !lives_in_memory(fd))
        return fd;
    qb_direct_leave(file, fd);
    return -1;
}

void qb_direct_leave(const struct qb_file *file, int fd)
{
    if (!file->has_direct)
        close(fd);
}

static int read_block(int fd, void *block, void *buf, size_t len)
{
    ssize_t got;

    do
        got = pread(fd, block, DIRECT_BYTES, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EINVAL ? 1 : -errno;
    if ((size_t)got < len)
        return -EIO; /* the file is shorter than its header */
    memcpy(buf, block, len);
    return 0;
}

int qb_file_read_direct(const struct qb_file *file, void *buf, size_t len)
{
    void *block = NULL;
    int fd = file->mem || len > DIRECT_BYTES ? -1 : qb_direct_take(file, false), r;

    if (fd < 0)
        return 1;
    r = posix_memalign(&block, DIRECT_BYTES, DIRECT_BYTES) ? 1 : read_block(fd, block, buf, len);
    free(block);
    qb_direct_leave(file, fd);
    return r;
}
