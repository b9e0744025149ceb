#include "util/output_place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

void qb_outplace_close(struct qb_outplace *place)
{
    qb_way_close(&place->way);
}

static bool is_trusted(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* ---- the way --------------------------------------------------------------------------------- */

static bool is_in_proc(const struct qb_way *way)
{
    struct statfs fs;

    return fstatfs(way->dir, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

static bool is_number(const char *name)
{
    return name[0] && name[strspn(name, "0123456789")] == '\0';
}

static int look_at_link(void *arg, const struct qb_way *way, struct qb_err *err)
{
    struct qb_outplace *place = arg;
    bool proc = is_in_proc(way); /* the kernel's own links, whoever they seem to belong to */

    place->given = proc && way->is_last && is_number(way->name);
    if (place->given)
        return QB_WAY_END;
    if (proc || is_trusted(way->st.st_uid))
        return QB_WAY_GO_ON;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "\"%.80s\" is a symbolic link of the user %lu, and is not followed", way->name,
                   (unsigned long)way->st.st_uid);
}

/* The file that a descriptor in /proc stands for. */
static int reach_given(struct qb_way *way, struct qb_err *err)
{
    int fd = openat(way->dir, way->name, O_PATH | O_CLOEXEC);

    close(way->fd);
    way->fd = fd;
    if (fd < 0 || fstat(fd, &way->st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot be opened");
    return 0;
}

/* ---- what is there --------------------------------------------------------------------------- */

/* Whether others than root and the caller can put names into the directory. */
static bool is_open_to_others(const struct qb_way *way)
{
    struct stat st;

    return fstat(way->dir, &st) < 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) || !is_trusted(st.st_uid);
}

static int refuse(const char *why, struct qb_err *err)
{
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s", why);
}

static int check(const struct qb_outplace *place, struct qb_err *err)
{
    const struct qb_way *way = &place->way;
    bool trusted = place->given || is_trusted(way->st.st_uid);

    if (S_ISDIR(way->st.st_mode))
        return refuse(strerror(EISDIR), err);
    if (S_ISBLK(way->st.st_mode))
        return refuse("a block device is never written to", err);
    if (S_ISREG(way->st.st_mode) && !trusted)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the file belongs to the user %lu; it is not overwritten",
                       (unsigned long)way->st.st_uid);
    if (S_ISREG(way->st.st_mode) && !place->given && way->st.st_nlink > 1 && is_open_to_others(way))
        return refuse("the file has more names, in a directory that others can write to; it is not "
                      "overwritten",
                      err);
    if (S_ISFIFO(way->st.st_mode) && !trusted && is_open_to_others(way))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the FIFO belongs to the user %lu, in a directory that others can write to",
                       (unsigned long)way->st.st_uid);
    return 0;
}

int qb_outplace_find(const char *path, struct qb_outplace *place, struct qb_err *err)
{
    const struct qb_way_rules rules = {.arg = place, .link = look_at_link, .may_lack_last = true};

    *place = (struct qb_outplace){.way = {.dir = -1, .fd = -1}};
    if (qb_way_follow(path, &rules, &place->way, err) < 0)
        return err->sys_errno ? refuse(strerror(err->sys_errno), err) : -1;
    if (place->given && reach_given(&place->way, err) < 0)
        return -1;
    return place->way.fd < 0 ? 0 : check(place, err);
}

bool qb_outplace_is_stdout(const struct qb_outplace *place)
{
    const struct stat *st = &place->way.st;
    struct stat out;

    return place->given && fstat(STDOUT_FILENO, &out) == 0 && out.st_dev == st->st_dev &&
           out.st_ino == st->st_ino;
}

int qb_outplace_open(const struct qb_outplace *place, int flags)
{
    char at[QB_FD_PATH];

    qb_fd_path(place->way.fd, at);
    return open(at, flags | O_NOCTTY | O_CLOEXEC);
}

bool qb_outplace_is_free(const struct qb_outplace *place)
{
    struct stat st;

    if (fstatat(place->way.dir, place->way.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT;
    return S_ISREG(st.st_mode) && is_trusted(st.st_uid);
}
