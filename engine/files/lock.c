/* Takes byte-range locks as QEMU does.  Byte 100 + p, read-locked, means "the holder uses
 * permission p"; byte 200 + p means "the holder does not share permission p".  Each process sets
 * its own bytes first and checks those of others afterwards, so that of two simultaneous ones at
 * least one sees the other.  The locks belong to the open file, not to the process: two opens
 * inside one process exclude each other too.
 *
 * An amend locks all of them at once, as a writer, which needs no look afterwards; only where that
 * is refused does it proceed byte by byte, as QEMU does, to find out who is in the way, or whether
 * anybody is.  It holds more than `qemu-img amend` does: byte 200 excludes readers, since the
 * tables that they have cached would be wrong after the flip.  It does not check byte 100: all
 * readers hold it, and those with `-U` accept changes; the others are seen at 201 and 203. */
#include "files/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define USES       100
#define SHARES_NOT 200
#define RETRIES    4

struct bytes {
    short first, end;
};

struct lock_rule {
    struct bytes held[4]; /* ended by an empty range */
    struct bytes all;     /* covers all bytes that are probed; usually none is held */
    struct bytes probed[5];
};

/* Permission 2, "write unchanged", is held along with its neighbours, which saves two calls per
 * image.  It excludes no process that 200 does not. */
static const struct lock_rule amend_rule = {
    .held = {{100, 104}, {200, 204}},
    .all = {101, 204},
    .probed = {{200, 202}, {203, 204}, {101, 102}, {103, 104}},
};

static const struct lock_rule reader_rule = {
    .held = {{100, 101}, {201, 202}, {203, 204}},
    .all = {101, 201},
    .probed = {{200, 201}, {101, 102}, {103, 104}},
};

static const char *const permissions[] = {"consistent read", "write", "write unchanged", "resize"};

static int lock_call(const struct qb_file *file, int cmd, short type, off_t first, off_t len,
                     struct flock *fl)
{
    *fl = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = len};
    return fcntl(file->fd, cmd, fl) < 0 ? errno : 0;
}

static bool no_locks_here(int errnum)
{
    return errnum == ENOLCK || errnum == EINVAL || errnum == EOPNOTSUPP || errnum == ENOSYS;
}

static int conflict(off_t byte, struct qb_err *err)
{
    const char *how = byte >= SHARES_NOT ? "does not share" : "uses";
    const char *what = permissions[byte % 100];

    return qb_fail(err, QB_E_LOCKED, QB_NOWHERE,
                   "image is locked: another process %s \"%s\" (is a virtual machine or another "
                   "tool using it?)",
                   how, what);
}

/* 0, an errno, or -1 with *err filled. */
static int probe(const struct qb_file *file, const struct lock_rule *rule, struct qb_err *err)
{
    const struct bytes *b = &rule->all;
    struct flock fl;
    int errnum = lock_call(file, F_OFD_GETLK, F_WRLCK, b->first, b->end - b->first, &fl);

    if (errnum || fl.l_type == F_UNLCK)
        return errnum;
    for (b = rule->probed; b->end; b++) {
        errnum = lock_call(file, F_OFD_GETLK, F_WRLCK, b->first, b->end - b->first, &fl);
        if (errnum)
            return errnum;
        if (fl.l_type != F_UNLCK)
            return conflict(fl.l_start < b->first ? b->first : fl.l_start, err);
    }
    return 0;
}

/* The same.  Who holds a byte as a writer holds all of them (below), and is named by those that are
 * probed. */
static int hold(const struct qb_file *file, const struct lock_rule *rule, struct qb_err *err)
{
    struct flock fl;
    int errnum;

    for (const struct bytes *b = rule->held; b->end; b++) {
        errnum = lock_call(file, F_OFD_SETLK, F_RDLCK, b->first, b->end - b->first, &fl);
        if (errnum == EAGAIN || errnum == EACCES)
            return probe(file, rule, err) < 0 ? -1 : conflict(b->first, err);
        if (errnum)
            return errnum;
    }
    return 0;
}

/* Holds all bytes that an amend probes, and those between them, in one call, as a writer: it is
 * granted only where nobody has locked one.  Users of the file, who lock theirs before they look at
 * those of others, are refused.  Byte 100, which readers with `-U` hold, stays free.  False where
 * that is not possible: a byte is locked, maybe one that does not matter, or the file was opened
 * only for reading. */
static bool hold_all(const struct qb_file *file)
{
    const struct bytes *all = &amend_rule.all;
    struct flock fl;

    return file->writable &&
           lock_call(file, F_OFD_SETLK, F_WRLCK, all->first, all->end - all->first, &fl) == 0;
}

/* One attempt: 0 with the locks held, an errno, or -1 with *err filled, without any lock. */
static int try_lock(const struct qb_file *file, const struct lock_rule *rule, struct qb_err *err)
{
    struct flock fl;
    int rc;

    if (rule == &amend_rule && hold_all(file))
        return 0;
    rc = hold(file, rule, err);
    if (rc == 0)
        rc = probe(file, rule, err);
    if (rc != 0)
        lock_call(file, F_OFD_SETLK, F_UNLCK, USES, SHARES_NOT - USES + 100, &fl);
    return rc;
}

int qb_file_look_for_locks(const struct qb_file *file, struct qb_err *err)
{
    return probe(file, &amend_rule, err) < 0 ? -1 : 0;
}

static int fail_without_locks(int errnum, struct qb_err *err)
{
    qb_fail(err, QB_E_NO_LOCKS, QB_NOWHERE, "the file system has no locks: %s", strerror(errnum));
    if (err)
        err->sys_errno = errnum;
    return -1;
}

int qb_file_lock(struct qb_file *file, bool for_amend, struct qb_err *err)
{
    const struct lock_rule *rule = for_amend ? &amend_rule : &reader_rule;
    unsigned seed;
    int rc;

    if (file->mem)
        return 0;
    rc = try_lock(file, rule, err);
    /* Two simultaneous processes see each other and both release their locks: their pauses differ.
     */
    seed = rc < 0 ? (unsigned)getpid() : 0;
    for (unsigned again = 0; rc < 0 && again < RETRIES; again++) {
        usleep((seed = seed * 1103515245u + 12345u) >> 16 & 0xfff);
        rc = try_lock(file, rule, err);
    }
    if (rc > 0 && !no_locks_here(rc))
        return qb_fail_sys(err, rc, QB_NOWHERE, "cannot lock the image");
    if (rc > 0 && for_amend)
        return fail_without_locks(rc, err);
    return rc < 0 ? -1 : qb_file_measure(file, err);
}
