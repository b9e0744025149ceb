#include "files/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/own.h"
#include "files/way.h"

enum { ACL_USUAL = 512 };

/* ---- one file -------------------------------------------------------------------------------- */

/* One that is longer than the caller's buffer is read into *more.  Its length, 0: there is none;
 * -1. */
static ssize_t read_acl(int fd, char *usual, char **more, struct qb_err *err)
{
    char at[QB_FD_PATH];
    ssize_t len;

    qb_fd_path(fd, at);
    len = getxattr(at, "system.posix_acl_access", usual, ACL_USUAL);
    if (len < 0 && errno == ERANGE) {
        len = getxattr(at, "system.posix_acl_access", NULL, 0);
        *more = len > 0 ? malloc((size_t)len) : NULL;
        len = *more ? getxattr(at, "system.posix_acl_access", *more, (size_t)len) : -1;
    }
    if (len < 0 && errno != ENODATA && errno != EOPNOTSUPP)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot read an access control list");
    return len < 0 ? 0 : len;
}

static struct qb_perms perms_of(const struct stat *st, const char *acl, ssize_t len)
{
    return (struct qb_perms){.uid = st->st_uid,
                             .gid = st->st_gid,
                             .mode = st->st_mode,
                             .acl = len > 0 ? acl : NULL,
                             .acl_len = (size_t)len};
}

int qb_perms_of(int fd, const struct stat *st, struct qb_perms *perms, char **acl,
                struct qb_err *err)
{
    QB_AUTO(qb_buf) char *more = NULL;
    char usual[ACL_USUAL];
    ssize_t len = read_acl(fd, usual, &more, err);

    *acl = NULL;
    if (len < 0)
        return -1;
    if (len > 0 && !more && !(more = malloc((size_t)len)))
        return qb_fail_memory(err);
    if (len > 0 && len <= ACL_USUAL)
        memcpy(more, usual, (size_t)len);
    *acl = len > 0 ? qb_take(&more) : NULL;
    *perms = perms_of(st, *acl, len);
    return 0;
}

int qb_may_fd(const struct qb_who *who, int fd, const struct stat *st, unsigned wanted, bool *may,
              struct qb_err *err)
{
    QB_AUTO(qb_buf) char *more = NULL;
    char usual[ACL_USUAL];
    struct qb_perms p;
    ssize_t len = 0;

    if (who->uid != 0 && who->uid != st->st_uid) {
        len = read_acl(fd, usual, &more, err);
        if (len < 0)
            return -1;
    }
    p = perms_of(st, more ? more : usual, len);
    *may = qb_may(who, &p, wanted);
    return 0;
}

/* ---- the path -------------------------------------------------------------------------------- */

static int check_search(void *arg, const struct qb_way *way, struct qb_err *err)
{
    struct stat st;
    bool may = false;

    if (fstat(way->dir, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat a directory of the path");
    if (qb_may_fd(arg, way->dir, &st, QB_MAY_SEARCH, &may, err) < 0)
        return -1;
    if (!may)
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "could not search the directory of \"%.60s\" on the way", way->name);
    return 0;
}

int qb_walk(const struct qb_who *who, const char *path, int *fd, struct stat *st,
            struct qb_err *err)
{
    struct qb_who as = *who;
    const struct qb_way_rules rules = {.arg = &as, .directory = check_search};
    QB_AUTO(qb_way_close) struct qb_way way;
    bool may = false;

    if (qb_way_follow(path, &rules, &way, err) < 0 ||
        qb_may_fd(who, way.fd, &way.st, QB_MAY_READ, &may, err) < 0)
        return -1;
    if (!may)
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "could not read it");
    *fd = way.fd;
    *st = way.st;
    way.fd = -1;
    return 0;
}
