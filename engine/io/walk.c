#include "io/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/own.h"

enum { LINKS_MAX = 40, ACL_USUAL = 512 };

void qb_fd_path(int fd, char out[QB_FD_PATH])
{
    snprintf(out, QB_FD_PATH, "/proc/self/fd/%d", fd);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* A list that is longer than the usual. */
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

struct walk {
    const struct qb_who *who;
    int dir;    /* the directory that was reached */
    char *rest; /* what is still to be followed */
    char *buf;  /* that it lies in */
    unsigned links;
    char name[NAME_MAX + 1]; /* that was followed last */
};

static void end_walk(struct walk *w)
{
    if (w->dir >= 0)
        close(w->dir);
    free(w->buf);
}

static int to_root(struct walk *w, struct qb_err *err)
{
    if (w->dir >= 0)
        close(w->dir);
    w->dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return w->dir < 0 ? qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the root directory") : 0;
}

/* Puts `text` before what is left. */
static int prepend(struct walk *w, const char *text, struct qb_err *err)
{
    char *buf = NULL;

    /* A slash at the end would ask for a directory. */
    if (asprintf(&buf, "%s%s%s", text, w->rest[0] ? "/" : "", w->rest) < 0)
        return qb_fail_memory(err);
    free(w->buf);
    w->buf = w->rest = buf;
    return text[0] == '/' ? to_root(w, err) : 0;
}

static int begin(struct walk *w, const char *path, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);

    if (path[0] != '/' && !here)
        return qb_fail_sys(err, errno, QB_NOWHERE, "the current directory has no path");
    w->buf = w->rest = strdup(path);
    if (!w->buf)
        return qb_fail_memory(err);
    return here ? prepend(w, here, err) : to_root(w, err);
}

/* Takes the next name off the rest; false at its end. */
static bool take_name(struct walk *w, struct qb_err *err, int *r)
{
    size_t len;

    w->rest += strspn(w->rest, "/");
    len = strcspn(w->rest, "/");
    if (len == 0)
        return false;
    if (len > NAME_MAX) {
        *r = qb_fail_sys(err, ENAMETOOLONG, QB_NOWHERE, "cannot open the file");
        return false;
    }
    memcpy(w->name, w->rest, len);
    w->name[len] = '\0';
    w->rest += len;
    return true;
}

static int check_search(const struct walk *w, struct qb_err *err)
{
    struct stat st;
    bool may = false;

    if (fstat(w->dir, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat a directory of the path");
    if (qb_may_fd(w->who, w->dir, &st, QB_MAY_SEARCH, &may, err) < 0)
        return -1;
    if (!may)
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "could not search the directory of \"%.60s\" on the way", w->name);
    return 0;
}

static int follow_link(struct walk *w, int link, struct qb_err *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(link, "", target, sizeof(target) - 1);

    if (len <= 0 || ++w->links > LINKS_MAX)
        return qb_fail_sys(err,
                           len < 0    ? errno
                           : len == 0 ? ENOENT
                                      : ELOOP,
                           QB_NOWHERE, "cannot follow a symbolic link");
    target[len] = '\0';
    return prepend(w, target, err);
}

/* O_DIRECTORY has a file system that is mounted on demand mounted. */
static int open_name(const struct walk *w)
{
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, fd = -1;

    if (w->rest[0])
        fd = openat(w->dir, w->name, flags | O_DIRECTORY);
    if (fd >= 0 || (w->rest[0] && errno != ENOTDIR && errno != ELOOP))
        return fd;
    return openat(w->dir, w->name, flags);
}

/* One name further: 1 when that was the last, and *fd is what it leads to. */
static int step(struct walk *w, int *fd, struct stat *st, struct qb_err *err)
{
    int r = 0, next;

    if (check_search(w, err) < 0)
        return -1;
    next = open_name(w);
    if (next < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file");
    if (fstat(next, st) < 0)
        r = qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat the file");
    else if (S_ISLNK(st->st_mode))
        r = follow_link(w, next, err);
    else if (w->rest[0] == '\0')
        r = 1;
    else if (!S_ISDIR(st->st_mode))
        r = qb_fail_sys(err, ENOTDIR, QB_NOWHERE, "cannot open the file");
    else {
        close(w->dir);
        w->dir = next;
        return 0;
    }
    if (r == 1)
        *fd = next;
    else
        close(next);
    return r;
}

static int follow(struct walk *w, int *fd, struct stat *st, struct qb_err *err)
{
    int r = 0;

    while (r == 0 && take_name(w, err, &r))
        r = step(w, fd, st, err);
    if (r == 0) /* it ends in a slash, or is the root */
        r = qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "is a directory");
    return r < 0 ? -1 : 0;
}

int qb_walk(const struct qb_who *who, const char *path, int *fd, struct stat *st,
            struct qb_err *err)
{
    QB_AUTO(end_walk) struct walk w = {.who = who, .dir = -1};
    bool may = false;

    if (begin(&w, path, err) < 0 || follow(&w, fd, st, err) < 0)
        return -1;
    if (qb_may_fd(who, *fd, st, QB_MAY_READ, &may, err) < 0) {
        close(*fd);
        return -1;
    }
    if (may)
        return 0;
    close(*fd);
    return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "could not read it");
}
