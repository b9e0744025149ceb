#include "io/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/own.h"
#include "files/attributes.h"
#include "io/backend.h"
#include "io/extents.h"
#include "files/way.h"

static int open_unnamed(int folder, const char *path)
{
    return openat(folder, path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* A clone cannot be made without file system support; which errno says so depends on who is asked.
 */
static int fail_to_clone(int errnum, const char *where, struct qb_err *err)
{
    switch (errnum) {
    case EOPNOTSUPP:
    case ENOTTY:
    case EXDEV:
    case EINVAL:
    case EISDIR: /* O_TMPFILE is not supported */
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "the file system of %.250s cannot clone files (reflinks)", where);
    default:
        return qb_fail_sys(err, errnum, QB_NOWHERE, "cannot clone to %.250s", where);
    }
}

int qb_clone_look(const char *folder, struct qb_err *err)
{
    struct statfs fs;

    if (statfs(folder, &fs) < 0)
        return fail_to_clone(errno, folder, err);
    switch ((unsigned long)fs.f_type) {
    case EXT4_SUPER_MAGIC: /* also of ext2 and ext3 */
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case MSDOS_SUPER_MAGIC:
        return fail_to_clone(EOPNOTSUPP, folder, err);
    default:
        return 0;
    }
}

int qb_clone_probe(const char *folder, struct qb_err *err)
{
    static const char block[4096];
    QB_AUTO(qb_fd_close) int from = open_unnamed(AT_FDCWD, folder);
    QB_AUTO(qb_fd_close) int to = from < 0 ? -1 : open_unnamed(AT_FDCWD, folder);

    if (from < 0 || to < 0 || write(from, block, sizeof(block)) != (ssize_t)sizeof(block) ||
        ioctl(to, FICLONE, from) < 0)
        return fail_to_clone(errno, folder, err);
    return 0;
}

/* Whether an older clone of the image may be replaced: a regular file of its owner or of the
 * caller. */
static bool may_go(const struct qb_file *image, int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (st.st_uid == image->uid || st.st_uid == geteuid());
}

/* Gives the file its name, which an older clone loses. */
static int link_to(const struct qb_file *image, int fd, int dir, const char *name)
{
    char self[QB_FD_PATH];

    qb_fd_path(fd, self);
    if (linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno != EEXIST)
        return errno;
    if (!may_go(image, dir, name))
        return EEXIST;
    if (unlinkat(dir, name, 0) < 0)
        return errno;
    return linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW) < 0 ? errno : 0;
}

/* For a file system that a barrier syncs file by file. */
static int sync_name(int fd, int folder)
{
    QB_AUTO(qb_fd_close) int dir = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return dir < 0 || fsync(fd) < 0 || fsync(dir) < 0 ? errno : 0;
}

/* btrfs clones a file without copy-on-write (chattr +C) only to another such file. */
static void match_flags(int from, int to)
{
    int flags = 0;

    if (ioctl(from, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL)) {
        flags = FS_NOCOW_FL;
        if (ioctl(to, FS_IOC_SETFLAGS, &flags) < 0)
            errno = 0; /* then the clone fails, and that is reported */
    }
}

static int make(const struct qb_file *file, uint64_t length, int folder, const char *name,
                const char *real, struct stat *made, struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int fd = open_unnamed(folder, ".");
    struct stat st;
    int errnum;

    if (fd < 0 || fstat(file->fd, &st) < 0)
        return fail_to_clone(errno, real, err);
    match_flags(file->fd, fd);
    if (ioctl(fd, FICLONE, file->fd) < 0 ||
        ((uint64_t)st.st_size > length && ftruncate(fd, (off_t)length) < 0))
        return fail_to_clone(errno, real, err);
    if (qb_attributes_copy(file->fd, fd, &st, err) < 0)
        return -1;
    errnum = link_to(file, fd, folder, name);
    if (errnum == 0 && !qb_barrier_covers_fs(file))
        errnum = sync_name(fd, folder);
    if (errnum == 0 && fstat(fd, made) < 0)
        errnum = errno;
    return errnum ? fail_to_clone(errnum, real, err) : 0;
}

static int follow_none(void *unused, const struct qb_way *way, struct qb_err *err)
{
    (void)unused;
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                   "\"%.80s\" in the path of the image became a symbolic link", way->name);
}

/* A user who can rename the directories of the image must not redirect its clone to another one: it
 * is made in the directory that holds the open file. */
int qb_clone_make(const struct qb_file *file, uint64_t length, const char *real, const char *suffix,
                  struct stat *made, struct qb_err *err)
{
    const struct qb_way_rules rules = {.link = follow_none};
    QB_AUTO(qb_way_close) struct qb_way way;
    char name[NAME_MAX + 1];

    if (qb_way_follow(real, &rules, &way, err) < 0)
        return -1;
    if (way.st.st_dev != file->dev || way.st.st_ino != file->ino)
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file is at the image's path now");
    if (snprintf(name, sizeof(name), "%s%s", way.name, suffix) >= (int)sizeof(name))
        return fail_to_clone(ENAMETOOLONG, real, err);
    return make(file, length, way.dir, name, real, made, err);
}

/* Bytes [*at, ...) that only this file has; moves *at past them.  As qb_extents_from. */
static int add_own(int fd, uint64_t *at, uint64_t *bytes)
{
    struct qb_extent extents[QB_EXTENTS];
    int n = qb_extents_from(fd, *at, extents);

    for (int i = 0; i < n; i++) {
        const struct qb_extent *e = &extents[i];

        if (e->end <= *at)
            return 0;
        if (!e->shared)
            *bytes += e->end - QB_MAX(e->first, *at);
        *at = e->end;
        if (e->last)
            return 0;
    }
    return n;
}

int qb_clone_own_bytes(struct qb_io *io, const struct qb_file *file, uint64_t *bytes, bool *known,
                       struct qb_err *err)
{
    uint64_t at = 0;
    int n = 1;

    *bytes = 0;
    while (n > 0) {
        if (qb_io_go_on(io, err) < 0)
            return -1;
        n = add_own(file->fd, &at, bytes);
    }
    *known = n == 0;
    return 0;
}
