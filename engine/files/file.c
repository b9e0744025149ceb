/* Opens one image file, and finds out its identity.
 *
 * The kind of file is checked before it is opened, because opening some devices has effects, and
 * again afterwards, because the path may lead to another file by then.  O_NONBLOCK prevents waiting
 * for the other end of a FIFO in that case.
 *
 * `dev` and `ino` are always those of the inode that was opened, for block devices too: of the node
 * in /dev, that is, not of the disk behind it. */
#include "files/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "files/way.h"

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

enum { WANTED = STATX_BASIC_STATS | STATX_MNT_ID };

static int look(const struct qb_file *file, struct statx *st, struct qb_err *err)
{
    if (statx(file->fd, "", AT_EMPTY_PATH | AT_STATX_SYNC_AS_STAT, WANTED, st) < 0)
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

/* Its kind, identity and owner. */
static int take_identity(struct qb_file *file, const struct statx *st, struct qb_err *err)
{
    if (qb_file_check_kind(st->stx_mode, err) < 0)
        return -1;
    file->dev = makedev(st->stx_dev_major, st->stx_dev_minor);
    file->ino = st->stx_ino;
    file->uid = st->stx_uid;
    file->gid = st->stx_gid;
    file->other_names = st->stx_nlink > 1 ? st->stx_nlink - 1 : 0;
    file->mount_id = st->stx_mask & STATX_MNT_ID ? st->stx_mnt_id : 0;
    file->is_block_device = S_ISBLK(st->stx_mode);
    return 0;
}

/* The open file's kind, size and identity. */
static int describe(struct qb_file *file, struct qb_err *err)
{
    struct statx st;

    if (look(file, &st, err) < 0 || take_identity(file, &st, err) < 0)
        return -1;
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

int qb_file_make_blocking(struct qb_file *file)
{
    int flags = file->blocks ? -1 : fcntl(file->fd, F_GETFL);

    if (flags >= 0 && fcntl(file->fd, F_SETFL, flags & ~O_NONBLOCK) == 0)
        file->blocks = true;
    return file->fd;
}

/* Whether reads may leave the access time as it is: the kernel permits that to the owner and to
 * root.  Otherwise the first read after each write would write the inode again. */
static bool may_spare_times(uid_t owner)
{
    unsigned long euid = getauxval(AT_EUID);

    return euid == 0 || euid == owner;
}

static int open_as(const char *path, int flags, bool *may_have_links)
{
    return may_have_links ? qb_way_open(path, flags, may_have_links) : open(path, flags);
}

/* If another program holds a lease, the kernel asks it to release the lease, and with O_NONBLOCK
 * the open fails.  `may_have_links` may be NULL. */
static int open_path(const char *path, uid_t owner, bool writable, bool *may_have_links,
                     struct qb_err *err)
{
    int flags = (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int spares = may_spare_times(owner) ? O_NOATIME : 0;
    int fd = open_as(path, flags | spares, may_have_links);

    if (fd < 0 && errno == EPERM && spares) /* of another user after all, or a root of few rights */
        fd = open_as(path, flags, may_have_links);

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
    bool links = false;

    close(file->fd);
    file->fd = open_path(file->path, file->uid, true, &links, err);
    if (file->fd < 0)
        return -1;
    file->may_have_links |= links; /* this is the descriptor that is written through */
    file->writable = true;
    file->blocks = false;
    return 0;
}

/* Opens `at`, another path to the file that messages call `path`. */
static int open_at(const char *at, const char *path, uid_t owner, struct qb_file *out,
                   struct qb_err *err)
{
    struct qb_file file = {.fd = -1};

    file.path = strdup(path);
    if (!file.path)
        return qb_fail_memory(err);
    file.fd = open_path(at, owner, false, at == path ? &file.may_have_links : NULL, err);
    if (file.fd < 0 || describe(&file, err) < 0) {
        qb_file_close(&file);
        return -1;
    }
    *out = file;
    return 0;
}

int qb_file_open(const char *path, struct qb_file *out, struct qb_err *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file");
    if (qb_file_check_kind(st.st_mode, err) < 0)
        return -1;
    return open_at(path, path, st.st_uid, out, err);
}

int qb_file_open_to_claim(const char *path, struct qb_file *out, struct qb_err *err)
{
    struct qb_file file = {.fd = -1};
    struct statx st;

    if (statx(AT_FDCWD, path, AT_STATX_SYNC_AS_STAT, WANTED, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file");
    if (take_identity(&file, &st, err) < 0)
        return -1;
    file.path = strdup(path);
    if (!file.path)
        return qb_fail_memory(err);
    file.fd = open_path(path, file.uid, false, &file.may_have_links, err);
    if (file.fd < 0 || take_size(&file, &st, err) < 0) {
        qb_file_close(&file);
        return -1;
    }
    *out = file;
    return 0;
}

int qb_file_reopen(int fd, const char *path, struct qb_file *out, struct qb_err *err)
{
    char at[QB_FD_PATH];

    qb_fd_path(fd, at);
    if (access("/proc/self/fd", X_OK) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file by /proc/self/fd");
    return open_at(at, path, (uid_t)-1, out, err); /* root needs no owner */
}

void qb_file_close(struct qb_file *file)
{
    /* The path distinguishes an open file from an empty struct, whose fd is 0: standard input. */
    if (file->path && file->fd >= 0)
        close(file->fd);
    if (file->has_direct)
        close(file->direct);
    free(file->head);
    free(file->path);
    memset(file, 0, sizeof(*file));
    file->fd = -1;
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

bool qb_file_is_cached(struct qb_file *file)
{
    struct iovec one = {.iov_len = QB_HEAD};
    ssize_t got;

    if (file->mem)
        return true;
    qb_file_drop_head(file);
    file->head = one.iov_base = malloc(QB_HEAD);
    got = file->head ? preadv2(file->fd, &one, 1, 0, RWF_NOWAIT) : 0;
    if (got > 0) {
        file->head_len = (size_t)got;
        return true;
    }
    qb_file_drop_head(file);
    /* A kernel or file system without the flag does not return EAGAIN. */
    return got == 0 || errno != EAGAIN;
}

void qb_file_drop_head(struct qb_file *file)
{
    free(file->head);
    file->head = NULL;
    file->head_len = 0;
}

void qb_file_drop_cache(struct qb_file *file)
{
    qb_file_forget(file, 0, UINT64_MAX);
    if (!file->mem)
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
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
