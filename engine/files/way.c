#include "files/way.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"

enum { LINKS_MAX = 40 };

void qb_fd_path(int fd, char out[QB_FD_PATH])
{
    snprintf(out, QB_FD_PATH, "/proc/self/fd/%d", fd);
}

int qb_way_open(const char *path, int flags, bool *may_have_links)
{
    static const int unsure[] = {ELOOP, ENOSYS, EPERM, EINVAL, E2BIG};
    struct open_how how = {.flags = (unsigned)flags, .resolve = RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

    *may_have_links = false;
    for (size_t i = 0; fd < 0 && i < sizeof(unsure) / sizeof(unsure[0]); i++)
        *may_have_links |= errno == unsure[i];
    return *may_have_links ? open(path, flags) : (int)fd;
}

struct walk {
    const struct qb_way_rules *rules;
    struct qb_way *way;
    char *rest; /* the rest of the path */
    char *buf;  /* that it lies in */
    unsigned links;
};

static void drop_buf(struct walk *w)
{
    free(w->buf);
}

void qb_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void qb_way_close(struct qb_way *way)
{
    qb_fd_close(&way->dir);
    qb_fd_close(&way->fd);
}

static int to_root(struct walk *w, struct qb_err *err)
{
    qb_fd_close(&w->way->dir);
    w->way->dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->way->dir < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the root directory");
    return 0;
}

/* Inserts `text` before the rest of the path. */
static int prepend(struct walk *w, const char *text, struct qb_err *err)
{
    char *buf = NULL;

    /* A slash at the end would require a directory. */
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
    memcpy(w->way->name, w->rest, len);
    w->way->name[len] = '\0';
    w->rest += len;
    return true;
}

/* O_DIRECTORY triggers automounts. */
static int open_name(const struct walk *w)
{
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, fd = -1;

    if (w->rest[0])
        fd = openat(w->way->dir, w->way->name, flags | O_DIRECTORY);
    if (fd >= 0 || (w->rest[0] && errno != ENOTDIR && errno != ELOOP))
        return fd;
    return openat(w->way->dir, w->way->name, flags);
}

static int follow_link(struct walk *w, struct qb_err *err)
{
    int answer = w->rules->link ? w->rules->link(w->rules->arg, w->way, err) : QB_WAY_GO_ON;
    char target[PATH_MAX];
    ssize_t len;

    if (answer != QB_WAY_GO_ON)
        return answer;
    len = readlinkat(w->way->fd, "", target, sizeof(target) - 1);
    if (len <= 0 || ++w->links > LINKS_MAX)
        return qb_fail_sys(err,
                           len < 0    ? errno
                           : len == 0 ? ENOENT
                                      : ELOOP,
                           QB_NOWHERE, "cannot follow a symbolic link");
    target[len] = '\0';
    qb_fd_close(&w->way->fd);
    return prepend(w, target, err);
}

/* Follows one name; QB_WAY_END when that was the last. */
static int step(struct walk *w, struct qb_err *err)
{
    struct qb_way *way = w->way;

    if (w->rules->directory && w->rules->directory(w->rules->arg, way, err) < 0)
        return -1;
    way->fd = open_name(w);
    way->is_last = !w->rest[0];
    if (way->fd < 0 && errno == ENOENT && w->rules->may_lack_last && way->is_last)
        return QB_WAY_END;
    if (way->fd < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file");
    if (fstat(way->fd, &way->st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat the file");
    if (S_ISLNK(way->st.st_mode))
        return follow_link(w, err);
    if (way->is_last)
        return QB_WAY_END;
    if (!S_ISDIR(way->st.st_mode))
        return qb_fail_sys(err, ENOTDIR, QB_NOWHERE, "cannot open the file");
    qb_fd_close(&way->dir);
    way->dir = way->fd;
    way->fd = -1;
    return QB_WAY_GO_ON;
}

int qb_way_follow(const char *path, const struct qb_way_rules *rules, struct qb_way *out,
                  struct qb_err *err)
{
    QB_AUTO(drop_buf) struct walk w = {.rules = rules, .way = out};
    int r;

    *out = (struct qb_way){.dir = -1, .fd = -1};
    r = begin(&w, path, err);
    while (r == 0 && take_name(&w, err, &r))
        r = step(&w, err);
    if (r == 0) /* it ends in a slash, or is the root */
        return qb_fail(err, QB_E_NOT_QCOW2, QB_NOWHERE, "is a directory");
    return r < 0 ? -1 : 0;
}
