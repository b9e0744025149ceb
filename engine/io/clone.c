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
#include "io/backend.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* ".../name" -> ".../" or "." */
static int folder_of(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;

    if (len >= PATH_MAX)
        return ENAMETOOLONG;
    memcpy(out, path, len);
    strcpy(out + len, len ? "" : ".");
    return 0;
}

static int open_unnamed(const char *folder)
{
    return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
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
    case EISDIR: /* O_TMPFILE is unknown */
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
    case EXT4_SUPER_MAGIC: /* that of ext2 and ext3, too */
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
    QB_AUTO(close_fd) int from = open_unnamed(folder);
    QB_AUTO(close_fd) int to = from < 0 ? -1 : open_unnamed(folder);

    if (from < 0 || to < 0 || write(from, block, sizeof(block)) != (ssize_t)sizeof(block) ||
        ioctl(to, FICLONE, from) < 0)
        return fail_to_clone(errno, folder, err);
    return 0;
}

/* Gives the file its name, and takes that away from another one. */
static int link_to(int fd, const char *to)
{
    char self[32];

    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno != EEXIST || unlink(to) < 0)
        return errno;
    return linkat(AT_FDCWD, self, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0 ? errno : 0;
}

/* For a file system that a barrier syncs file by file. */
static int sync_name(int fd, const char *folder)
{
    QB_AUTO(close_fd) int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return dir < 0 || fsync(fd) < 0 || fsync(dir) < 0 ? errno : 0;
}

/* btrfs clones a file that is not copied on write (chattr +C) only to one that is not either. */
static void match_flags(int from, int to)
{
    int flags = 0;

    if (ioctl(from, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL)) {
        flags = FS_NOCOW_FL;
        if (ioctl(to, FS_IOC_SETFLAGS, &flags) < 0)
            errno = 0; /* then the clone fails, and says so */
    }
}

static int make(const struct qb_file *file, const char *folder, const char *to)
{
    QB_AUTO(close_fd) int fd = open_unnamed(folder);
    struct stat st;
    int errnum;

    if (fd < 0 || fstat(file->fd, &st) < 0)
        return errno;
    match_flags(file->fd, fd);
    if (ioctl(fd, FICLONE, file->fd) < 0)
        return errno;
    if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
        errno = 0; /* its own owner's then, and nobody else's: the mode is 0600 */
    errnum = link_to(fd, to);
    return errnum || qb_barrier_covers_fs(file) ? errnum : sync_name(fd, folder);
}

int qb_clone_make(const struct qb_file *file, const char *to, struct qb_err *err)
{
    char folder[PATH_MAX];
    int errnum = folder_of(to, folder);

    if (!errnum)
        errnum = make(file, folder, to);
    return errnum ? fail_to_clone(errnum, to, err) : 0;
}
