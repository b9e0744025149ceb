#include "files/put_back.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/own.h"
#include "files/attributes.h"
#include "files/way.h"

static int sync_dir(const struct qb_put_back *p, struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int dir = openat(p->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return dir < 0 || fsync(dir) < 0
               ? qb_fail_sys(err, errno, QB_NOWHERE, "cannot sync the image's directory")
               : 0;
}

static bool leads_to(const struct qb_put_back *p, const char *name, const struct qb_file *file)
{
    struct stat st;

    return fstatat(p->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == file->dev &&
           st.st_ino == file->ino;
}

static int fail_changed(struct qb_err *err)
{
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                   "another file took the place of the image or its clone");
}

/* ---- exchange -------------------------------------------------------------------------------- */

int qb_put_back_check(const struct qb_put_back *p, struct qb_err *err)
{
    struct stat st;

    if (!leads_to(p, p->name, p->there) || !leads_to(p, p->from, p->back))
        return fail_changed(err);
    if (fstat(p->there->fd, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot look at the image");
    if (st.st_nlink != 1)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the image has %llu names (hard links): the others would stay with the "
                       "amended image",
                       (unsigned long long)st.st_nlink);
    if (fstatat(p->dir, p->aside, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "%.200s, where the amended image is to be kept, is there already: rename it, or "
            "remove it if it is of no use",
            p->aside);
    return errno == ENOENT
               ? 0
               : qb_fail_sys(err, errno, QB_NOWHERE, "cannot look for %.200s", p->aside);
}

static int exchange(const struct qb_put_back *p, struct qb_err *err)
{
    if (renameat2(p->dir, p->name, p->dir, p->from, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "the file system cannot exchange two names in one step");
    return qb_fail_sys(err, errno, QB_NOWHERE, "cannot exchange the image and its clone");
}

static int copy_attributes(const struct qb_put_back *p, struct qb_err *err)
{
    struct stat st;

    if (fstat(p->there->fd, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot look at the image");
    if (qb_attributes_copy(p->there->fd, p->back->fd, &st, err) < 0)
        return -1;
    return fsync(p->back->fd) < 0 ? qb_fail_sys(err, errno, QB_NOWHERE, "cannot sync the clone")
                                  : 0;
}

/* Between a check and the exchange somebody may have renamed another file to one of the names: the
 * exchange keeps that file, and is taken back. */
int qb_put_back(const struct qb_put_back *p, struct qb_err *err)
{
    struct qb_err unused;

    if (copy_attributes(p, err) < 0 || qb_put_back_check(p, err) < 0 || exchange(p, err) < 0)
        return -1;
    if (!leads_to(p, p->name, p->back) || !leads_to(p, p->from, p->there)) {
        exchange(p, &unused);
        return fail_changed(err);
    }
    return sync_dir(p, err);
}

/* ---- aside ----------------------------------------------------------------------------------- */

static bool is_it(const struct qb_put_back *p, const char *name, uint64_t ino, struct stat *st)
{
    return fstatat(p->dir, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode) &&
           (ino == 0 || st->st_ino == ino);
}

int qb_put_aside(const struct qb_put_back *p, uint64_t ino, struct stat *st, struct qb_err *err)
{
    bool moves = is_it(p, p->from, ino, st);

    if (moves && renameat2(p->dir, p->from, p->dir, p->aside, RENAME_NOREPLACE) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE,
                           "the image is as it was, but the amended one could not be renamed from "
                           "%.100s to %.100s",
                           p->from, p->aside);
    if (!moves && !is_it(p, p->aside, ino, st))
        st->st_ino = 0;
    return sync_dir(p, err);
}
