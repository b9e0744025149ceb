/* Makes what was written to files durable.  Few files are synced one by one, many in flight.  Many
 * files of one local file system are cheaper as one syncfs, whose result then applies to each of
 * them; it is not used on kernels that do not report all write errors through syncfs (before 5.17),
 * nor while the host has much unrelated dirty data: syncfs would wait for all of it.  The fd that
 * syncfs is called on reports failures since it was opened, so all files of a barrier must have
 * been opened before the first of them was written: the phases of a wave guarantee that. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/backend.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define MANY_FILES    8
#define MUCH_KIB      (512u << 10) /* dirty data of the whole host; a wave rarely has as much */
#define SYNCS_AT_ONCE 128
#define TO_DO         (-1)

static bool syncfs_tells_errors(void)
{
    struct utsname u;
    int major = 0, minor = 0;

    if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
        return false;
    return major > 5 || (major == 5 && minor >= 17);
}

/* The number behind `name` in a text like that of /proc/meminfo, KiB; 0 when it is not there. */
static unsigned long kib_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

static bool host_is_dirty(void)
{
    char text[4096];
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[QB_MAX(n, 0)] = '\0';
    return kib_of(text, "\nDirty:") + kib_of(text, "\nWriteback:") > MUCH_KIB;
}

static bool is_local_fs(const struct qb_file *file)
{
    struct statfs fs;

    if (fstatfs(file->fd, &fs) < 0)
        return false;
    switch ((unsigned long)fs.f_type) {
    case EXT4_SUPER_MAGIC: /* ext2 and ext3 too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    default:
        return false;
    }
}

/* A sync of the file system need not flush the disk's own cache when the journal happened to be
 * clean; the fdatasync of any one file always does. */
static int sync_fs(const struct qb_file *file)
{
    struct qb_req one = {.file = (struct qb_file *)file, .op = QB_OP_SYNC};

    while (syncfs(file->fd) < 0) {
        if (errno != EINTR)
            return errno;
    }
    return qb_posix_do(&one, 0);
}

bool qb_barrier_covers_fs(const struct qb_file *file)
{
    return !file->is_block_device && syncfs_tells_errors() && is_local_fs(file);
}

static bool in_group(const struct qb_file *file, const struct qb_file *leader)
{
    return file->dev == leader->dev && !file->is_block_device;
}

static bool worth_syncfs(struct qb_file *const *files, size_t n, size_t leader, enum qb_sync how)
{
    size_t i, group = 0;

    if (how == QB_SYNC_FILE || files[leader]->is_block_device || !syncfs_tells_errors())
        return false;
    if (how == QB_SYNC_FS) /* elsewhere it may do nothing: the kernel does not pass it on to FUSE */
        return qb_barrier_covers_fs(files[leader]);
    for (i = leader; i < n && group < MANY_FILES; i++)
        group += in_group(files[i], files[leader]);
    return group >= MANY_FILES && is_local_fs(files[leader]) && !host_is_dirty();
}

/* Syncs whole file systems where that is cheaper, and leaves TO_DO at the files it did not cover.
 */
static void sync_groups(struct qb_file *const *files, size_t n, enum qb_sync how, int *errors)
{
    for (size_t i = 0; i < n; i++)
        errors[i] = TO_DO;
    for (size_t i = 0; i < n; i++) {
        int errnum;

        if (errors[i] != TO_DO || !worth_syncfs(files, n, i, how))
            continue;
        errnum = sync_fs(files[i]);
        for (size_t j = i; j < n; j++) {
            if (in_group(files[j], files[i]))
                errors[j] = errnum;
        }
    }
}

/* Syncs the files that are still TO_DO, many in flight. */
static void sync_files(struct qb_io *io, struct qb_file *const *files, size_t n, int *errors)
{
    struct qb_req reqs[SYNCS_AT_ONCE];
    size_t whose[SYNCS_AT_ONCE];
    size_t i = 0;

    while (i < n) {
        size_t k = 0;

        for (; i < n && k < SYNCS_AT_ONCE; i++) {
            if (errors[i] != TO_DO)
                continue;
            reqs[k] = (struct qb_req){.file = files[i], .op = QB_OP_SYNC};
            whose[k++] = i;
        }
        qb_io_run(io, reqs, k);
        while (k--)
            errors[whose[k]] = reqs[k].error;
    }
}

size_t qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n, enum qb_sync how,
                     int *errors)
{
    size_t i, failed = 0;

    if (io->ops->barrier) {
        int errnum = n ? io->ops->barrier(io) : 0;

        for (i = 0; i < n; i++)
            errors[i] = errnum;
    } else {
        sync_groups(files, n, how, errors);
        sync_files(io, files, n, errors);
    }
    for (i = 0; i < n; i++) {
        files[i]->stats.barriers++;
        failed += errors[i] != 0;
    }
    return failed;
}
