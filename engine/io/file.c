/* Opens one image file, and finds out its identity and its holes.
 *
 * The kind of file is checked before it is opened, because opening some devices has effects, and
 * again afterwards, because the path may lead to another file by then.  O_NONBLOCK prevents waiting
 * for the other end of a FIFO in that case.
 *
 * `dev` and `ino` are always those of the inode that was opened, for block devices too: of the node
 * in /dev, that is, not of the disk behind it. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "io/way.h"

int qb_file_check_kind(mode_t mode, struct qb_err *err)
{
    const char *kind = "is not a regular file";

    if (S_ISREG(mode) || S_ISBLK(mode))
        return 0;
    if (S_ISDIR(mode))
        kind = "is a directory";
    else if (S_ISFIFO(mode))
        kind = "is a FIFO";
    else if (S_ISSOCK(mode))
        kind = "is a socket";
    else if (S_ISCHR(mode))
        kind = "is a character device";
    return qb_fail(err, QB_E_NOT_QCOW2, QB_NOWHERE, "%s", kind);
}

static int look(const struct qb_file *file, struct statx *st, struct qb_err *err)
{
    unsigned wanted = STATX_BASIC_STATS | STATX_MNT_ID;

    if (statx(file->fd, "", AT_EMPTY_PATH | AT_STATX_SYNC_AS_STAT, wanted, st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat the file");
    return 0;
}

static int take_size(struct qb_file *file, const struct statx *st, struct qb_err *err)
{
    file->size = st->stx_size;
    if (file->is_block_device && ioctl(file->fd, BLKGETSIZE64, &file->size) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot get the size of the block device");
    file->allocated_at_open = file->is_block_device ? file->size : st->stx_blocks * 512;
    return 0;
}

/* The open file's kind, size and identity. */
static int describe(struct qb_file *file, struct qb_err *err)
{
    struct statx st;

    if (look(file, &st, err) < 0 || qb_file_check_kind(st.stx_mode, err) < 0)
        return -1;
    file->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
    file->ino = st.stx_ino;
    file->uid = st.stx_uid;
    file->gid = st.stx_gid;
    file->other_names = st.stx_nlink > 1 ? st.stx_nlink - 1 : 0;
    file->mount_id = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
    file->is_block_device = S_ISBLK(st.stx_mode);
    return take_size(file, &st, err);
}

int qb_file_measure(struct qb_file *file, struct qb_err *err)
{
    struct statx st;

    if (file->mem)
        return 0;
    if (look(file, &st, err) < 0)
        return -1;
    if (makedev(st.stx_dev_major, st.stx_dev_minor) != file->dev || st.stx_ino != file->ino)
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file took the image's place");
    file->uid = st.stx_uid;
    file->gid = st.stx_gid;
    qb_file_forget(file, 0, UINT64_MAX);
    return take_size(file, &st, err);
}

/* O_NONBLOCK is no longer needed; with it, io_uring would report EAGAIN for bytes not yet cached.
 * It is the only flag in use that F_SETFL changes. */
static int make_blocking(int fd, struct qb_err *err)
{
    if (fcntl(fd, F_SETFL, 0) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot set the mode of the open file");
    return 0;
}

/* If another program holds a lease, the kernel asks it to release the lease, and with O_NONBLOCK
 * the open fails.  `may_have_links` may be NULL. */
static int open_path(const char *path, bool writable, bool *may_have_links, struct qb_err *err)
{
    int flags = (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = may_have_links ? qb_way_open(path, flags, may_have_links) : open(path, flags);

    if (fd < 0 && errno == EAGAIN)
        return qb_fail(err, QB_E_LOCKED, QB_NOWHERE,
                       "another program holds a lease on the image (a file server?)");
    if (fd < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file%s",
                           writable ? " for writing" : "");
    return fd;
}

int qb_file_reopen_writable(struct qb_file *file, struct qb_err *err)
{
    int fd = open_path(file->path, true, NULL, err);

    if (fd < 0)
        return -1;
    close(file->fd);
    file->fd = fd;
    file->writable = true;
    return make_blocking(fd, err);
}

/* Opens `at`, another path to the file that messages call `path`. */
static int open_at(const char *at, const char *path, bool writable, struct qb_file *out,
                   struct qb_err *err)
{
    struct qb_file file = {.fd = -1, .writable = writable};

    file.path = strdup(path);
    if (!file.path)
        return qb_fail_memory(err);
    file.fd = open_path(at, writable, at == path ? &file.may_have_links : NULL, err);
    if (file.fd < 0 || describe(&file, err) < 0 || make_blocking(file.fd, err) < 0) {
        qb_file_close(&file);
        return -1;
    }
    *out = file;
    return 0;
}

int qb_file_open(const char *path, bool writable, struct qb_file *out, struct qb_err *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file");
    if (qb_file_check_kind(st.st_mode, err) < 0)
        return -1;
    return open_at(path, path, writable, out, err);
}

int qb_file_reopen(int fd, const char *path, struct qb_file *out, struct qb_err *err)
{
    char at[QB_FD_PATH];

    qb_fd_path(fd, at);
    if (access("/proc/self/fd", X_OK) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file by /proc/self/fd");
    return open_at(at, path, false, out, err);
}

void qb_file_close(struct qb_file *file)
{
    /* The path distinguishes an open file from an empty struct, whose fd is 0: standard input. */
    if (file->path && file->fd >= 0)
        close(file->fd);
    free(file->path);
    memset(file, 0, sizeof(*file));
    file->fd = -1;
}

bool qb_file_still_there(const struct qb_file *file)
{
    struct stat st;

    if (file->mem)
        return true;
    return stat(file->path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino;
}

bool qb_file_keeps_size(const struct qb_file *file)
{
    struct stat st;

    if (file->mem || file->is_block_device)
        return true;
    return fstat(file->fd, &st) == 0 && (uint64_t)st.st_size == file->size;
}

bool qb_file_may_be_unsynced(const struct qb_file *file)
{
    enum { WRITTEN_BACK_SECONDS = 600 };
    struct stat st;
    time_t age;

    if (file->mem)
        return false;
    if (file->is_block_device || fstat(file->fd, &st) < 0)
        return true;
    age = time(NULL) - st.st_mtim.tv_sec;
    return age < WRITTEN_BACK_SECONDS; /* or of the future: the clock was set */
}

static const struct qb_known *remember(struct qb_file *file, uint64_t first, uint64_t end,
                                       bool is_hole)
{
    struct qb_known *k = &file->known[file->next_known];

    *k = (struct qb_known){{first, end}, is_hole};
    file->next_known = (file->next_known + 1) % QB_KNOWN;
    file->n_known = QB_MIN(file->n_known + 1, QB_KNOWN);
    return k;
}

void qb_file_forget(struct qb_file *file, uint64_t first, uint64_t end)
{
    for (unsigned i = 0; i < file->n_known; i++)
        if (qb_ranges_touch(file->known[i].range.first, file->known[i].range.end, first, end))
            file->known[i].range = (struct qb_range){0};
}

/* Asks the kernel for the range that begins at or covers `offset` < size.  If data follows a hole,
 * its end is asked for at once: it will be needed next. */
static const struct qb_known *ask(struct qb_file *file, uint64_t offset)
{
    off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA), hole;
    const struct qb_known *k = NULL;

    if (data < 0 && errno == ENXIO)
        return remember(file, offset, file->size, true);
    if (data > (off_t)offset)
        k = remember(file, offset, (uint64_t)data, true);
    hole = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);
    /* If the file system does not support this, all of the file is taken as data, and it is not
     * asked again. */
    if (hole <= data)
        return k ? k : remember(file, offset, UINT64_MAX, false);
    if (!k)
        return remember(file, offset, (uint64_t)hole, false);
    remember(file, (uint64_t)data, (uint64_t)hole, false);
    return k;
}

static const struct qb_known *known_at(struct qb_file *file, uint64_t offset)
{
    for (unsigned i = 0; i < file->n_known; i++)
        if (offset >= file->known[i].range.first && offset < file->known[i].range.end)
            return &file->known[i];
    return ask(file, offset);
}

bool qb_file_is_hole(struct qb_file *file, uint64_t offset, uint64_t len)
{
    const struct qb_known *k;

    if (file->mem || file->is_block_device || !qb_range_ok(offset, len, 1, file->size))
        return false;
    if (len == 0)
        return true;
    k = known_at(file, offset);
    return k->is_hole && offset + len <= k->range.end;
}

uint64_t qb_file_next_data(struct qb_file *file, uint64_t offset)
{
    while (offset < file->size && qb_file_is_hole(file, offset, 1))
        offset = known_at(file, offset)->range.end;
    return QB_MIN(offset, file->size);
}

uint64_t qb_file_data_end(struct qb_file *file, uint64_t offset)
{
    if (file->mem || file->is_block_device || offset >= file->size)
        return UINT64_MAX;
    return known_at(file, offset)->range.end;
}

struct qb_range qb_file_data_part(struct qb_file *file, uint64_t offset, uint64_t len)
{
    struct qb_range part = {offset, offset + len};
    uint64_t end;

    if (file->mem || file->is_block_device || !qb_range_ok(offset, len, 1, file->size))
        return part;
    part.first = QB_MIN(qb_file_next_data(file, offset), part.end);
    if (part.first == part.end)
        return part;
    end = known_at(file, part.first)->range.end;
    if (end < part.end && qb_file_is_hole(file, end, part.end - end))
        part.end = end;
    return part;
}

bool qb_file_is_cached(const struct qb_file *file)
{
    char byte;
    struct iovec one = {&byte, 1};

    /* A kernel or file system without the flag does not return EAGAIN. */
    return file->mem || preadv2(file->fd, &one, 1, 0, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

void qb_file_drop_cache(struct qb_file *file)
{
    qb_file_forget(file, 0, UINT64_MAX);
    if (!file->mem)
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

enum { DIRECT_BYTES = 4096 }; /* a multiple of the block size and alignment of all usual disks */

/* tmpfs accepts direct reads, but answers them from the page cache. */
static bool lives_in_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) < 0 || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

/* Another open file description of the same file: reopened through its descriptor, so no path is
 * followed; -1 if that fails. */
static int open_direct(const struct qb_file *file)
{
    char self[32];
    struct stat st;
    int fd;

    snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
    fd = open(self, O_RDONLY | O_DIRECT | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && !lives_in_memory(fd) && fstat(fd, &st) == 0 && st.st_dev == file->dev &&
        st.st_ino == file->ino)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int qb_file_read_direct(const struct qb_file *file, void *buf, size_t len)
{
    void *block = NULL;
    ssize_t got;
    int fd = file->mem || len > DIRECT_BYTES ? -1 : open_direct(file), r = 0;

    if (fd < 0)
        return 1;
    if (posix_memalign(&block, DIRECT_BYTES, DIRECT_BYTES)) {
        close(fd);
        return 1;
    }
    do
        got = pread(fd, block, DIRECT_BYTES, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        r = errno == EINVAL ? 1 : -errno;
    else if ((size_t)got < len)
        r = -EIO; /* the file is shorter than its header */
    else
        memcpy(buf, block, len);
    free(block);
    close(fd);
    return r;
}

void qb_file_start_writeback(const struct qb_file *file, uint64_t offset, uint64_t len)
{
    if (!file->mem)
        sync_file_range(file->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

uint64_t qb_file_allocated(const struct qb_file *file)
{
    struct stat st;

    if (file->mem || file->is_block_device || fstat(file->fd, &st) < 0)
        return file->size;
    return (uint64_t)st.st_blocks * 512;
}
