#include "batch/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

static int fail(const char *path, const char *what, struct qb_err *err)
{
    return qb_fail_sys(err, errno, QB_NOWHERE, "%.250s: %s", path, what);
}

/* Of the open file, not of the process: asking for it takes nothing. */
static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

static int open_locked(const char *path, int flags, struct qb_journal *j, struct qb_err *err)
{
    struct flock lock = whole_file();
    struct stat st;

    *j = (struct qb_journal){
        .file.fd = open(path, flags | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600),
        .file.path = strdup(path),
    };
    if (j->file.fd < 0)
        return fail(path, "cannot open the journal", err);
    if (fcntl(j->file.fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
        return qb_fail(err, QB_E_LOCKED, QB_NOWHERE, "%.250s: another qbatch works with this run",
                       path);
    if (fstat(j->file.fd, &st) < 0)
        return fail(path, "cannot look at the journal", err);
    j->file.dev = st.st_dev;
    j->file.ino = st.st_ino;
    j->length = (uint64_t)st.st_size;
    return j->file.path ? 0 : qb_fail_memory(err);
}

int qb_journal_create(const char *path, struct qb_journal *j, struct qb_err *err)
{
    int r = open_locked(path, O_WRONLY | O_CREAT | O_EXCL, j, err);

    if (r < 0)
        qb_journal_close(j);
    return r;
}

int qb_journal_reopen(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal *j,
                      struct qb_journal_end *end, struct qb_err *err)
{
    int r = open_locked(path, O_RDWR, j, err);

    if (r == 0)
        r = qb_journal_read(path, fn, arg, end, err);
    if (r == 0 && end->torn && ftruncate(j->file.fd, (off_t)end->length) < 0)
        r = fail(path, "cannot cut off the torn line", err);
    if (r < 0)
        qb_journal_close(j);
    else
        j->length = end->length;
    return r;
}

bool qb_journal_is_held(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct flock lock = whole_file();
    bool held = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

    if (fd >= 0)
        close(fd);
    return held;
}

void qb_journal_close(struct qb_journal *j)
{
    qb_journal_write(j);
    free(j->text);
    qb_file_close(&j->file);
    *j = (struct qb_journal){.file.fd = -1};
}

struct qb_file *qb_journal_file(struct qb_journal *j)
{
    bool unsynced = j->unsynced;

    j->unsynced = false;
    return unsynced ? &j->file : NULL;
}

static int write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, text, n);

        if (done < 0 && errno != EINTR)
            return errno;
        text += QB_MAX(done, 0);
        n -= (size_t)QB_MAX(done, 0);
    }
    return 0;
}

int qb_journal_write(struct qb_journal *j)
{
    if (j->file.fd < 0 || j->used == 0 || j->errnum)
        return j->errnum;
    j->errnum = write_all(j->file.fd, j->text, j->used);
    if (j->errnum == 0)
        j->length += j->used;
    else if (ftruncate(j->file.fd, (off_t)j->length) < 0)
        j->errnum = errno; /* half a line stays: the next reader drops it */
    j->unsynced = true;
    j->used = 0;
    return j->errnum;
}
