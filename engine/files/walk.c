#include "files/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "base/own.h"
#include "files/way.h"

enum { ACL_USUAL = 512 };

/* ---- one file -------------------------------------------------------------------------------- */

/* Reads an ACL that is longer than the caller's buffer. */
static ssize_t read_long_acl(const char *at, char **out)
{
    ssize_t len = getxattr(at, "system.posix_acl_access", NULL, 0);

    *out = len > 0 ? malloc((size_t)len) : NULL;
    return *out ? getxattr(at, "system.posix_acl_access", *out, (size_t)len) : -1;
}

int qb_may_fd(const struct qb_who *who, int fd, const struct stat *st, unsigned wanted, bool *may,
              struct qb_err *err)
{
    struct qb_perms p = {.uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode};
    QB_AUTO(qb_buf) char *more = NULL;
    char at[QB_FD_PATH], acl[ACL_USUAL];
    ssize_t len = 0;

    if (who->uid != 0 && who->uid != st->st_uid) {
        qb_fd_path(fd, at);
        len = getxattr(at, "system.posix_acl_access", acl, sizeof(acl));
        if (len < 0 && errno == ERANGE)
            len = read_long_acl(at, &more);
        if (len < 0 && errno != ENODATA && errno != EOPNOTSUPP)
            return qb_fail_sys(err, errno, QB_NOWHERE, "cannot read an access control list");
    }
    if (len > 0) {
        p.acl = more ? more : acl;
        p.acl_len = (size_t)len;
    }
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
