/* A library to be preloaded: once a program has written the first sector of a file, it changes one
 * byte of the same file, as a disk or another program might that nobody expects.
 *
 * MEDDLE_AT is the byte's place, in the file MEDDLE_PATH where that is given (which takes
 * --sandbox=off, as it is opened then); with MEDDLE_LENGTH
 * the file gets that length instead.  Only plain system calls are watched: run the program with
 * --io posix.
 *
 * MEDDLE_DEADLY ends the process that reads images, of a large run, at a file of MEDDLE_SIZE bytes,
 * or at the one of this MEDDLE_INODE, by SIGKILL: "read", before a read of its first byte;
 * "header", if that is of a sector or more; "flip", before its first sector is written; "timed",
 * in between: the file has its new modification time, and nothing else; "flipped", after that.
 *
 * Reads that touch the bytes MEDDLE_UNREADABLE (first-end) of a file of MEDDLE_SIZE bytes fail with
 * EIO.
 *
 * It also ends a program whose first malloc_trim comes from one of several threads: where glibc's
 * heap is not in use (a preloaded malloc, a sanitizer's), two such calls at once crash. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void meddle(int fd)
{
    const char *at = getenv("MEDDLE_AT");
    const char *length = getenv("MEDDLE_LENGTH");
    unsigned char byte;

    if (length && ftruncate(fd, (off_t)strtoull(length, NULL, 0)) == 0)
        return;
    if (!at || pread(fd, &byte, 1, (off_t)strtoull(at, NULL, 0)) != 1)
        return;
    byte ^= 1;
    ((ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64"))(
        fd, &byte, 1, (off_t)strtoull(at, NULL, 0));
}

static bool is_of_size(int fd)
{
    const char *size = getenv("MEDDLE_SIZE");
    struct stat st;

    return size && fstat(fd, &st) == 0 && st.st_size == (off_t)strtoull(size, NULL, 0);
}

static bool is_the_inode(int fd)
{
    const char *ino = getenv("MEDDLE_INODE");
    struct stat st;

    return ino && fstat(fd, &st) == 0 && st.st_ino == (ino_t)strtoull(ino, NULL, 0);
}

static pid_t first_process;

__attribute__((constructor)) static void begin(void)
{
    first_process = getpid();
}

static void write_what_is_there(int fd)
{
    char byte;

    if (pread(fd, &byte, 1, 0) == 1)
        ((ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64"))(fd, &byte, 1,
                                                                                     0);
}

static void die_if(const char *when, int fd)
{
    const char *deadly = getenv("MEDDLE_DEADLY");

    if (!deadly || strcmp(deadly, when) != 0 || getpid() == first_process ||
        (!is_of_size(fd) && !is_the_inode(fd)))
        return;
    if (strcmp(when, "timed") == 0)
        write_what_is_there(fd);
    raise(SIGKILL);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t done;

    if (n == 512 && offset == 0) {
        die_if("flip", fd);
        die_if("timed", fd);
    }
    done = next(fd, buf, n, offset);
    if (done == 512 && offset == 0)
        die_if("flipped", fd);
    if (done == 512 && offset == 0) {
        const char *path = getenv("MEDDLE_PATH");
        int other = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

        meddle(other >= 0 ? other : fd);
        if (other >= 0)
            close(other);
    }
    return done;
}

/* Whether the bytes include those of MEDDLE_UNREADABLE, first-end, of a file of MEDDLE_SIZE bytes.
 */
static bool is_unreadable(int fd, size_t n, off_t offset)
{
    const char *range = getenv("MEDDLE_UNREADABLE");
    const char *size = getenv("MEDDLE_SIZE");
    struct stat st;
    off_t first, end;
    char *rest;

    if (!range || !size || fstat(fd, &st) < 0 || st.st_size != (off_t)strtoull(size, NULL, 0))
        return false;
    first = (off_t)strtoull(range, &rest, 0);
    end = (off_t)strtoull(rest + 1, NULL, 0);
    return offset < end && offset + (off_t)n > first;
}

ssize_t pread64(int fd, void *buf, size_t n, off_t offset)
{
    ssize_t (*next)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread64");

    if (offset == 0)
        die_if("read", fd);
    if (offset == 0 && n >= 512)
        die_if("header", fd);
    if (!is_unreadable(fd, n, offset))
        return next(fd, buf, n, offset);
    errno = EIO;
    return -1;
}

ssize_t pread(int fd, void *buf, size_t n, off_t offset) __attribute__((alias("pread64")));

ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset) __attribute__((alias("pwrite64")));

int malloc_trim(size_t pad)
{
    static atomic_bool called;
    struct stat tasks;

    /* Two links and one for each thread. */
    if (!atomic_exchange(&called, true) && stat("/proc/self/task", &tasks) == 0 &&
        tasks.st_nlink > 3)
        abort();
    return ((int (*)(size_t))dlsym(RTLD_NEXT, "malloc_trim"))(pad);
}
