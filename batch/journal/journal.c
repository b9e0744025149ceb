#include "journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "util/whole.h"

enum { HELD_TRIES = 20, HELD_WAIT_NS = 20 * 1000 * 1000 };

static int fail(const char *path, const char *what, struct qb_err *err)
{
    return qb_fail_sys(err, errno, QB_NOWHERE, "%.250s: %s", path, what);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_owner(int fd, const char *path, struct qb_err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail(path, "cannot look at the journal", err);
    if (!S_ISREG(st.st_mode))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.250s: not a regular file", path);
    if (st.st_uid != geteuid())
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "%.250s: this journal belongs to user %u, not to the present user %u", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "%.250s: other users can write this journal (mode %03o)", path,
                       (unsigned)st.st_mode & 0777);
    return 0;
}

int qb_journal_open(const char *path, int flags, struct qb_err *err)
{
    /* O_NONBLOCK: opening a FIFO would wait. */
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

    if (fd < 0 && errno == ELOOP)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.250s: a journal is not a link", path);
    if (fd < 0)
        return fail(path, "cannot open the journal", err);
    if (check_owner(fd, path, err) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Of the open file, not of the process: asking for it takes nothing. */
static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

/* The end of the run's name: "…-baec3d.journal". */
static void tag_of(const char *path, char tag[8])
{
    const char *dot = strrchr(path, '.'), *from = dot;

    while (from && from > path && dot - from < 6 && from[-1] != '-' && from[-1] != '/')
        from--;
    snprintf(tag, 8, "%.*s", from ? (int)(dot - from) : 0, from ? from : "");
}

/* The kernel keeps the files of a killed program open until its requests in a ring are done; and
 * processes that end because another one was killed do so a moment later. */
static int lock(int fd)
{
    struct flock lock = whole_file();
    int failed = fcntl(fd, F_OFD_SETLK, &lock);

    for (unsigned i = 0; failed && (errno == EAGAIN || errno == EACCES) && i < HELD_TRIES; i++) {
        nanosleep(&(struct timespec){.tv_nsec = HELD_WAIT_NS}, NULL);
        failed = fcntl(fd, F_OFD_SETLK, &lock);
    }
    return failed;
}

static int open_locked(const char *path, int flags, struct qb_journal *j, struct qb_err *err)
{
    struct stat st;

    *j = (struct qb_journal){.file.fd = qb_journal_open(path, flags, err)};
    if (j->file.fd < 0)
        return -1;
    j->file.path = strdup(path);
    if (lock(j->file.fd) < 0 && (errno == EAGAIN || errno == EACCES))
        return qb_fail(err, QB_E_LOCKED, QB_NOWHERE, "%.250s: in use by another qbatch process",
                       path);
    if (fstat(j->file.fd, &st) < 0)
        return fail(path, "cannot look at the journal", err);
    j->file.dev = st.st_dev;
    j->file.ino = st.st_ino;
    j->length = (uint64_t)st.st_size;
    tag_of(path, j->tag);
    return j->file.path ? 0 : qb_fail_memory(err);
}

int qb_journal_create(const char *path, struct qb_journal *j, struct qb_err *err)
{
    int r = open_locked(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, j, err);

    if (r < 0)
        qb_journal_close(j);
    return r;
}

/* Writes once more what is not known to be durable: after a sync that failed, the page cache holds
 * it and the disk does not, and no later sync would write it. */
static int write_again(struct qb_journal *j, const struct qb_journal_end *end, struct qb_err *err)
{
    size_t n = (size_t)(end->length - end->synced);
    QB_AUTO(qb_buf) char *text = malloc(n + 1);

    if (!text)
        return qb_fail_memory(err);
    if (pread(j->file.fd, text, n, (off_t)end->synced) != (ssize_t)n)
        return fail(j->file.path, "cannot read the journal", err);
    qb_journal_mend(text, n, j->tag);
    if (ftruncate(j->file.fd, (off_t)end->length) < 0)
        return fail(j->file.path, "cannot cut off the torn line", err);
    if (pwrite(j->file.fd, text, n, (off_t)end->synced) != (ssize_t)n ||
        fcntl(j->file.fd, F_SETFL, O_APPEND) < 0)
        return fail(j->file.path, "cannot write the journal", err);
    return 0;
}

int qb_journal_reopen(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal *j,
                      struct qb_journal_end *end, struct qb_err *err)
{
    int r = open_locked(path, O_RDWR, j, err);

    if (r == 0)
        r = qb_journal_read_fd(j->file.fd, path, fn, arg, j->tag, end, err);
    if (r == 0)
        r = write_again(j, end, err);
    if (r < 0) {
        qb_journal_close(j);
        return -1;
    }
    j->length = end->length;
    j->synced = end->synced;
    j->unsynced = true;
    return 0;
}

bool qb_journal_fd_is_held(int fd)
{
    struct flock lock = whole_file();

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool qb_journal_is_held(const char *path)
{
    struct qb_err err;
    int fd = qb_journal_open(path, O_RDONLY, &err);
    bool held = fd >= 0 && qb_journal_fd_is_held(fd);

    if (fd >= 0)
        close(fd);
    return held;
}

void qb_journal_told(struct qb_journal *j, int errnum)
{
    struct stat st;

    if (j->file.fd < 0 || j->errnum)
        return;
    if (fstat(j->file.fd, &st) == 0)
        j->length = (uint64_t)st.st_size;
    else if (!errnum)
        errnum = errno;
    j->errnum = errnum;
    j->unsynced = true;
}

/* ---- writing --------------------------------------------------------------------------------- */

void qb_journal_close(struct qb_journal *j)
{
    qb_journal_write(j);
    free(j->text);
    qb_file_close(&j->file);
    *j = (struct qb_journal){.file.fd = -1};
}

struct qb_file *qb_journal_file(struct qb_journal *j)
{
    bool unsynced = j->unsynced && !j->errnum;

    j->unsynced = false;
    j->syncing = j->length;
    return unsynced ? &j->file : NULL;
}

void qb_journal_synced(struct qb_journal *j, int errnum)
{
    if (errnum && !j->errnum)
        j->errnum = errnum;
    if (!j->errnum)
        j->synced = j->syncing;
}

int qb_journal_sync(struct qb_journal *j)
{
    struct qb_file *file;
    int r = 0;

    if (qb_journal_write(j) || !(file = qb_journal_file(j)))
        return j->errnum;
    while ((r = fdatasync(file->fd)) < 0 && errno == EINTR)
        ;
    qb_journal_synced(j, r < 0 ? errno : 0);
    return j->errnum;
}

/* Returns whether the file has all records, or none of them. */
static bool append(struct qb_journal *j)
{
    j->errnum = qb_write_whole(j->file.fd, j->text, j->used);
    j->length += j->errnum ? 0 : j->used;
    j->unsynced = true;
    j->used = 0;
    if (j->errnum == 0 || ftruncate(j->file.fd, (off_t)j->length) == 0)
        return true;
    j->errnum = errno; /* a torn line remains, which the next reader leaves out */
    return false;
}

int qb_journal_write(struct qb_journal *j)
{
    if (j->file.fd >= 0 && j->used > 0 && j->errnum == 0)
        append(j);
    return j->errnum;
}

static bool is_want_of_room(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
}

int qb_journal_offer(struct qb_journal *j)
{
    if (j->file.fd >= 0 && j->used > 0 && j->errnum == 0 && append(j) &&
        is_want_of_room(j->errnum)) {
        j->errnum = 0;
        return 0;
    }
    return qb_journal_sync(j);
}
