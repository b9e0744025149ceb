#include "files/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "files/places.h"
#include "files/way.h"

struct root {
    bool is_device;
    dev_t dev, rdev;
    ino_t ino;
};

struct qb_roots {
    bool one_file_system;
    dev_t top_dev; /* of "/" */
    ino_t top_ino;
    size_t n;
    struct root list[];
};

static int add(struct qb_roots *r, const char *path, struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "the root %.200s cannot be opened", path);
    if (!S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the root %.200s is neither a directory nor a block device", path);
    r->list[r->n++] = (struct root){S_ISBLK(st.st_mode), st.st_dev, st.st_rdev, st.st_ino};
    return 0;
}

struct qb_roots *qb_roots_open(const char *const *paths, size_t n, bool one_file_system,
                               struct qb_err *err)
{
    struct qb_roots *r = calloc(1, sizeof(*r) + n * sizeof(r->list[0]));
    struct stat top;
    int bad = 0;

    if (!r) {
        qb_fail_memory(err);
        return NULL;
    }
    if (stat("/", &top) < 0)
        bad = qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the root directory");
    r->top_dev = bad ? 0 : top.st_dev;
    r->top_ino = bad ? 0 : top.st_ino;
    r->one_file_system = one_file_system;
    for (size_t i = 0; bad == 0 && i < n; i++)
        bad = add(r, paths[i], err);
    if (bad == 0)
        return r;
    qb_roots_close(r);
    return NULL;
}

void qb_roots_close(struct qb_roots *roots)
{
    free(roots);
}

/* ---- a path ---------------------------------------------------------------------------------- */

enum { OUTSIDE = -1, PLACE_SHOWN = 160 };

struct reaching {
    const struct qb_roots *roots;
    const char *path;
    bool plain;
    int depth;               /* directories below the outermost root on the way, or OUTSIDE */
    char name[NAME_MAX + 1]; /* the last one that was looked up; "": none, or a link */
    bool by_root;            /* the last name is a link that root owns, beneath a root */
};

static bool is_root(const struct qb_roots *r, const struct stat *st)
{
    for (size_t i = 0; i < r->n; i++)
        if (!r->list[i].is_device && r->list[i].ino == st->st_ino && r->list[i].dev == st->st_dev)
            return true;
    return false;
}

/* Where the directory is to which the last name led.  Every way begins at "/", and again with every
 * absolute link, so the outermost root is always met first. */
static int depth_of(const struct reaching *to, const struct stat *st)
{
    bool is_top = st->st_dev == to->roots->top_dev && st->st_ino == to->roots->top_ino;
    int depth = to->depth;

    if (is_top)
        depth = OUTSIDE;
    else if (strcmp(to->name, "..") == 0)
        depth = depth > 0 ? depth - 1 : OUTSIDE;
    else if (to->name[0] && strcmp(to->name, ".") != 0 && depth != OUTSIDE)
        depth++;
    return depth == OUTSIDE && is_root(to->roots, st) ? 0 : depth;
}

static int enter(void *arg, const struct qb_way *way, struct qb_err *err)
{
    struct reaching *to = arg;
    struct stat st;

    if (fstat(way->dir, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat a directory of the path");
    to->depth = depth_of(to, &st);
    memcpy(to->name, way->name, sizeof(to->name));
    return 0;
}

static int refuse(const struct reaching *to, const struct qb_way *way, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *place = qb_place_text(way->fd, &way->st, to->path);

    if (!place || strlen(place) > PLACE_SHOWN) /* what others say of the file comes before */
        return qb_fail(err, QB_E_OUTSIDE_ROOTS, QB_NOWHERE, "it lies outside of policy.roots");
    return qb_fail(err, QB_E_OUTSIDE_ROOTS, QB_NOWHERE,
                   "it lies outside of policy.roots; to allow it: policy: {roots: [%s]}", place);
}

static int follow(void *arg, const struct qb_way *way, struct qb_err *err)
{
    struct reaching *to = arg;
    bool trusted = way->st.st_uid == 0 || way->st.st_uid == geteuid();

    if (to->plain && way->is_last)
        return QB_WAY_END;
    if (to->depth == OUTSIDE && !trusted)
        return refuse(to, way, err);
    if (way->is_last)
        to->by_root = to->depth != OUTSIDE && way->st.st_uid == 0;
    to->name[0] = '\0';
    return QB_WAY_GO_ON;
}

static bool is_listed_device(const struct qb_roots *r, const struct stat *st)
{
    for (size_t i = 0; S_ISBLK(st->st_mode) && i < r->n; i++)
        if (r->list[i].is_device && r->list[i].rdev == st->st_rdev)
            return true;
    return false;
}

static bool is_on_file_system(const struct qb_roots *r, const struct stat *st)
{
    for (size_t i = 0; i < r->n; i++)
        if (!r->list[i].is_device && r->list[i].dev == st->st_dev)
            return true;
    return false;
}

static bool is_beneath(const struct reaching *to, const struct stat *st)
{
    if (is_listed_device(to->roots, st))
        return true;
    if (S_ISBLK(st->st_mode))
        return to->depth != OUTSIDE || to->by_root;
    return to->depth != OUTSIDE &&
           (!to->roots->one_file_system || is_on_file_system(to->roots, st));
}

int qb_roots_reach(const struct qb_roots *roots, const char *path, bool plain, int *fd,
                   struct stat *st, struct qb_err *err)
{
    struct reaching to = {.roots = roots, .path = path, .plain = plain, .depth = OUTSIDE};
    const struct qb_way_rules rules = {.arg = &to, .directory = enter, .link = follow};
    QB_AUTO(qb_way_close) struct qb_way way;
    struct qb_err why = {0};

    if (qb_way_follow(path, &rules, &way, &why) < 0) {
        if (why.code == QB_E_NOT_FOUND && to.depth == OUTSIDE) /* that there is none is not told */
            return qb_fail(err, QB_E_OUTSIDE_ROOTS, QB_NOWHERE, "it lies outside of policy.roots");
        if (err)
            *err = why;
        return -1;
    }
    if (!is_beneath(&to, &way.st))
        return refuse(&to, &way, err);
    *fd = way.fd;
    *st = way.st;
    way.fd = -1;
    return 0;
}
