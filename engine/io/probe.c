#include "io/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/backend.h"

enum { LENGTH = 1 << 20, BLOCK = 64 << 10, ALIGNED = 4096 };

static bool takes_locks(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* A lease is for a descriptor that only reads. */
static bool takes_leases(int fd)
{
    char path[40];
    bool ok;
    int reader;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    reader = open(path, O_RDONLY | O_CLOEXEC);
    ok = reader >= 0 && fcntl(reader, F_SETLEASE, F_RDLCK) == 0;
    if (!ok) /* the writing descriptor conflicts, so leases work */
        ok = reader >= 0 && errno == EAGAIN;
    if (reader >= 0)
        close(reader);
    return ok;
}

static bool takes_direct(int fd)
{
    char path[40];
    void *block = NULL;
    bool ok;
    int direct;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    ok = direct >= 0 && posix_memalign(&block, ALIGNED, ALIGNED) == 0 &&
         pread(direct, block, ALIGNED, 0) == ALIGNED;
    free(block);
    if (direct >= 0)
        close(direct);
    return ok;
}

/* Punches the middle of a file of data and looks for the hole. */
static bool has_holes(int fd)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, LENGTH / 4, LENGTH / 2) == 0 &&
           lseek(fd, LENGTH / 4, SEEK_DATA) > LENGTH / 4;
}

static bool fill(int fd)
{
    static const char data[BLOCK] = {1};

    for (int at = 0; at < LENGTH; at += BLOCK)
        if (pwrite(fd, data, BLOCK, at) != BLOCK)
            return false;
    return true;
}

static int open_unnamed(const char *folder)
{
    return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

void qb_features_find(const char *folder, struct qb_features *out)
{
    int fd = open_unnamed(folder), other;

    *out = (struct qb_features){0};
    out->ring_errno = qb_ring_features(&out->ring_features);
    if (fd < 0 || !fill(fd)) {
        out->file_errno = errno ? errno : EIO;
        if (fd >= 0)
            close(fd);
        return;
    }
    other = open_unnamed(folder);
    out->locks = takes_locks(fd);
    out->leases = takes_leases(fd);
    out->direct = takes_direct(fd);
    out->reflink = other >= 0 && ioctl(other, FICLONE, fd) == 0;
    out->zero_range = fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, BLOCK) == 0;
    out->holes = has_holes(fd);
    close(fd);
    if (other >= 0)
        close(other);
}

const char *qb_ring_version(void)
{
    return QB_LIBURING_VERSION; /* as pkg-config has it: headers before 2.4 do not say */
}
