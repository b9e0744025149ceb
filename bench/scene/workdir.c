#include "scene/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"

#define PREFIX "qbatch-bench."

enum { FTW_FDS = 16 };

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static int remove_below(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return at->level ? remove_one(path, st, type, at) : 0;
}

/* What a killed bench had started may end a moment later, and make files meanwhile. */
static void remove_tree(const char *path)
{
    const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};

    for (int tries = 0; tries < 100; tries++) {
        if (nftw(path, remove_one, FTW_FDS, FTW_DEPTH | FTW_PHYS) == 0 || errno != ENOTEMPTY)
            return;
        nanosleep(&moment, NULL);
    }
}

/* ---- what others left ------------------------------------------------------------------------ */

/* A folder of that name whose lock is free, and of this user, belongs to a bench that is gone. */
static void remove_if_left(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        faccessat(fd, "keep", F_OK, 0) < 0)
        remove_tree(path);
    close(fd);
}

static void remove_what_is_left(const char *in)
{
    DIR *dir = opendir(in);
    struct dirent *entry;
    char path[4096];

    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)))
            continue;
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", in, entry->d_name) < sizeof(path))
            remove_if_left(path);
    }
    if (dir)
        closedir(dir);
}

/* ---- ours ------------------------------------------------------------------------------------ */

/* A bench that starts at the same moment may take ours for left behind before it is locked. */
static int make_and_lock(const char *parent, struct bench_workdir *dir)
{
    for (int tries = 0; tries < 16; tries++) {
        if ((size_t)snprintf(dir->path, sizeof(dir->path), "%s/" PREFIX "XXXXXX", parent) >=
            sizeof(dir->path)) {
            errno = ENAMETOOLONG;
            break;
        }
        if (!mkdtemp(dir->path))
            break;
        dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir->fd >= 0 && flock(dir->fd, LOCK_EX | LOCK_NB) == 0 && access(dir->path, F_OK) == 0)
            return 0;
        if (dir->fd >= 0)
            close(dir->fd);
    }
    dir->fd = -1;
    dir->path[0] = '\0';
    return -1;
}

int bench_workdir_open(const char *in, struct bench_workdir *dir, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *parent = realpath(in, NULL);
    char state[sizeof(dir->path) + sizeof("/state")];

    *dir = (struct bench_workdir){.fd = -1, .device = -1};
    if (!parent)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s", in);
    remove_what_is_left(parent);
    if (make_and_lock(parent, dir) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot make a folder", in);
    /* What the measured runs remember of themselves goes when the folder goes. */
    snprintf(state, sizeof(state), "%s/state", dir->path);
    setenv("STATE_DIRECTORY", state, 1);
    return 0;
}

void bench_workdir_close(struct bench_workdir *dir, bool keep)
{
    if (dir->path[0] && keep)
        close(openat(dir->fd, "keep", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    else if (dir->path[0])
        remove_tree(dir->path);
    if (dir->fd >= 0)
        close(dir->fd);
    *dir = (struct bench_workdir){.fd = -1, .device = -1};
}

int bench_workdir_empty(const struct bench_workdir *dir, struct qb_err *err)
{
    if (nftw(dir->path, remove_below, FTW_FDS, FTW_DEPTH | FTW_PHYS) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot clean up", dir->path);
    return bench_workdir_settle(dir, err);
}

void bench_workdir_remove(const struct bench_workdir *dir, const char *name)
{
    char path[sizeof(dir->path) + 64];

    snprintf(path, sizeof(path), "%s/%.60s", dir->path, name);
    remove_tree(path);
}

uint64_t bench_workdir_free(const struct bench_workdir *dir)
{
    struct statvfs st;

    return fstatvfs(dir->fd, &st) < 0 ? 0 : (uint64_t)st.f_bavail * st.f_frsize;
}

int bench_workdir_settle(const struct bench_workdir *dir, struct qb_err *err)
{
    if (syncfs(dir->fd) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot write back", dir->path);
    return 0;
}

/* ---- caches ---------------------------------------------------------------------------------- */

void bench_cache_drop_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

bool bench_cache_drop_all(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    bool dropped;

    if (fd < 0)
        return false;
    dropped = write(fd, "3\n", 2) == 2;
    close(fd);
    return dropped;
}
