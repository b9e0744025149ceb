#include "opener/named.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/own.h"
#include "io/backend.h"
#include "opener/in_use.h"
#include "opener/opener.h"
#include "opener/owners.h"
#include "files/walk.h"
#include "files/way.h"

/* Opens the path with the caller's permissions, not for I/O.  `plain`: a link at its end is not
 * followed. */
static int reach(const struct qb_owners *owners, const char *path, bool plain, int *fd,
                 struct stat *st, struct qb_err *err)
{
    const struct qb_roots *roots = qb_owners_roots(owners);

    if (roots)
        return qb_roots_reach(roots, path, plain, fd, st, err);
    *fd = open(path, O_PATH | O_CLOEXEC | (plain ? O_NOFOLLOW : 0));
    if (*fd < 0 || fstat(*fd, st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the file");
    return 0;
}

static int refuse(struct qb_naming by, const struct qb_err *why, struct qb_err *err)
{
    return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "uid %lu, the owner of %.120s, %.100s",
                   (unsigned long)by.uid, by.path ? by.path : "the image", why->text);
}

static void copy(struct qb_err *to, const struct qb_err *from)
{
    if (to)
        *to = *from;
}

/* Follows the path as that owner; *fd is the file that he reaches. */
static int follow_as(struct qb_owners *owners, struct qb_naming by, const char *path, int *fd,
                     struct stat *st, struct qb_err *err)
{
    QB_AUTO(qb_buf) gid_t *groups = NULL;
    struct qb_err why = {0};
    struct qb_who who;
    int came_to = -1;

    if (qb_owners_who(owners, by.uid, by.gid, &who, &groups, err) < 0)
        return -1;
    if (qb_walk(&who, path, &came_to, st, &why) < 0) {
        if (why.code == QB_E_BACKING_REFUSED)
            return refuse(by, &why, err);
        if (why.code == QB_E_NOT_QCOW2)
            return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "it %s", why.text);
        copy(err, &why);
        return -1;
    }
    qb_fd_close(fd);
    *fd = came_to;
    qb_owners_learn(owners, by.uid, by.gid, st);
    return 0;
}

/* Root, and an owner who was found to be able to read exactly this file, need no check. */
static bool is_free_to(struct qb_owners *owners, struct qb_naming by, const struct stat *st)
{
    return qb_owners_any(owners) || by.uid == 0 || qb_owners_knows(owners, by.uid, by.gid, st);
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether there is such a file is told to those who could find that out. */
static int miss_for(struct qb_owners *owners, struct qb_naming by, const char *path,
                    struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct qb_err why = {0};
    struct stat st;

    if (qb_owners_any(owners) || by.uid == 0 || follow_as(owners, by, path, &fd, &st, &why) == 0 ||
        why.code != QB_E_BACKING_REFUSED)
        return 0;
    copy(err, &why);
    return -1;
}

/* The file, if both owners could read it, as an O_PATH descriptor. */
static int reach_for(struct qb_owners *owners, struct qb_naming image, struct qb_naming namer,
                     const char *path, int *fd, struct stat *st, struct qb_err *err)
{
    struct qb_err why = {0};
    struct stat first;

    if (reach(owners, path, false, fd, st, &why) < 0) {
        if (why.code != QB_E_NOT_FOUND ||
            (miss_for(owners, image, path, err) == 0 && miss_for(owners, namer, path, err) == 0))
            copy(err, &why);
        return -1;
    }
    first = *st;
    if (!is_free_to(owners, image, st) && follow_as(owners, image, path, fd, st, err) < 0)
        return -1;
    if (!is_free_to(owners, namer, st) && follow_as(owners, namer, path, fd, st, err) < 0)
        return -1;
    if (same_inode(&first, st))
        return 0;
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "the file was exchanged while it was opened");
}

static int check_kind(mode_t mode, struct qb_err *err)
{
    struct qb_err why = {0};

    if (qb_file_check_kind(mode, &why) == 0)
        return 0;
    return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "it %s", why.text);
}

static int reopen(struct qb_io *io, int fd, const char *path, struct qb_file *out,
                  struct qb_err *err)
{
    int r = qb_file_reopen(fd, path, out, err);

    if (r == 0)
        qb_io_opened(io, out);
    return r;
}

int qb_named_open(struct qb_io *io, struct qb_naming image, struct qb_naming namer,
                  const char *path, struct qb_file *out, struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct stat st;

    if (io->opener)
        return qb_opener_open(
            io,
            &(struct qb_to_open){
                .what = QB_OPENING_NAMED, .image = image, .namer = namer, .path = path},
            out, err);
    if (reach_for(io->owners, image, namer, path, &fd, &st, err) < 0 ||
        check_kind(st.st_mode, err) < 0)
        return -1;
    qb_owners_note(io->owners, fd, &st, path);
    return reopen(io, fd, path, out, err);
}

/* ---- data files -------------------------------------------------------------------------------
 */

/* What the path itself leads to, without following a link at its end. */
static int reach_plain(const struct qb_owners *owners, const char *path, int *fd, struct stat *st,
                       struct qb_err *err)
{
    if (reach(owners, path, true, fd, st, err) < 0)
        return -1;
    if (S_ISLNK(st->st_mode))
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "it is a symbolic link");
    return check_kind(st->st_mode, err);
}

static int check_may_write(struct qb_owners *owners, struct qb_naming by, int fd,
                           const struct stat *st, struct qb_err *err)
{
    const struct qb_err why = {.text = "could not write it"};
    QB_AUTO(qb_buf) gid_t *groups = NULL;
    struct qb_who who;
    bool may = false;

    if (qb_owners_who(owners, by.uid, by.gid, &who, &groups, err) < 0 ||
        qb_may_fd(&who, fd, st, QB_MAY_WRITE, &may, err) < 0)
        return -1;
    return may ? 0 : refuse(by, &why, err);
}

static int check_owner(struct qb_owners *owners, struct qb_naming by, const char *path,
                       bool writable, int *fd, struct stat *st, struct qb_err *err)
{
    struct stat first = *st;

    if (qb_owners_any(owners))
        return 0;
    if (S_ISREG(st->st_mode) && st->st_uid != by.uid)
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "it belongs to uid %lu, and the image to uid %lu", (unsigned long)st->st_uid,
                       (unsigned long)by.uid);
    if (by.uid == 0)
        return 0;
    if (follow_as(owners, by, path, fd, st, err) < 0)
        return -1;
    if (!same_inode(&first, st))
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "the file was exchanged while it was opened");
    return writable ? check_may_write(owners, by, *fd, st, err) : 0;
}

/* The data file, if the image's owner may use it, as an O_PATH descriptor. */
static int reach_data(struct qb_io *io, const struct qb_file *image, const char *path,
                      bool writable, int *fd, struct stat *st, struct qb_err *err)
{
    if (reach_plain(io->owners, path, fd, st, err) < 0)
        return -1;
    if (st->st_dev == image->dev && st->st_ino == image->ino)
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE, "it is the image itself");
    if (check_owner(io->owners, qb_naming_of(image), path, writable, fd, st, err) < 0)
        return -1;
    qb_owners_note(io->owners, *fd, st, path);
    return 0;
}

static int open_data_there(struct qb_io *io, enum qb_opening what, const struct qb_file *image,
                           const char *path, struct qb_claim how, struct qb_file *out,
                           struct qb_err *err)
{
    return qb_opener_open(
        io,
        &(struct qb_to_open){
            .what = what, .image = qb_naming_of(image), .file = image, .path = path, .how = how},
        out, err);
}

int qb_named_claim(struct qb_io *io, const struct qb_file *image, const char *path,
                   struct qb_claim how, struct qb_file *out, struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct stat st;

    if (io->opener)
        return open_data_there(io, QB_OPENING_DATA_CLAIM, image, path, how, out, err);
    how.on_link = QB_ON_LINK_FOLLOW; /* here the owner's right counts */
    if (reach_data(io, image, path, how.writable, &fd, &st, err) < 0 ||
        qb_file_claim(io, path, how, out, err) < 0)
        return -1;
    if (out->dev == st.st_dev && out->ino == st.st_ino)
        return 0;
    qb_file_close(out);
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "the file was exchanged while it was opened");
}

int qb_named_open_data(struct qb_io *io, const struct qb_file *image, const char *path,
                       struct qb_file *out, struct qb_err *err)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct stat st;

    if (io->opener)
        return open_data_there(io, QB_OPENING_DATA, image, path, (struct qb_claim){0}, out, err);
    if (reach_data(io, image, path, false, &fd, &st, err) < 0)
        return -1;
    return reopen(io, fd, path, out, err);
}

bool qb_named_is(struct qb_io *io, struct qb_naming image, const char *path,
                 const struct qb_file *file)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct stat st;

    if (io->opener)
        return qb_opener_open(io,
                              &(struct qb_to_open){.what = QB_OPENING_NAMED_IS,
                                                   .image = image,
                                                   .namer = image,
                                                   .file = file,
                                                   .path = path},
                              NULL, NULL) == 0;
    return reach_for(io->owners, image, image, path, &fd, &st, NULL) == 0 &&
           st.st_dev == file->dev && st.st_ino == file->ino;
}

/* ---- who could be reading an image ------------------------------------------------------------
 */

/* The owner's groups, and that of his file. */
static gid_t *with_group(const struct qb_who *who, gid_t gid)
{
    gid_t *all = malloc((who->n_groups + 1) * sizeof(*all));

    if (!all)
        return NULL;
    for (size_t i = 0; i < who->n_groups; i++)
        all[i] = who->groups[i];
    all[who->n_groups] = gid;
    return all;
}

static bool could_read(struct qb_owners *owners, struct qb_naming by, int fd, const struct stat *st)
{
    QB_AUTO(qb_buf) gid_t *groups = NULL, *all = NULL;
    struct qb_who who;
    bool may = true;

    if (qb_owners_who(owners, by.uid, by.gid, &who, &groups, NULL) < 0 ||
        !(all = with_group(&who, by.gid)))
        return true;
    who.groups = all;
    who.n_groups++;
    return qb_may_fd(&who, fd, st, QB_MAY_READ, &may, NULL) < 0 || may;
}

bool qb_named_could_read(struct qb_io *io, struct qb_naming by, const char *path,
                         const struct qb_file *file)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct stat st;

    if (io->opener)
        return qb_opener_open(io,
                              &(struct qb_to_open){.what = QB_OPENING_COULD_READ,
                                                   .image = by,
                                                   .namer = by,
                                                   .file = file,
                                                   .path = path},
                              NULL, NULL) == 0;
    if (by.uid == 0 || qb_owners_any(io->owners))
        return true;
    fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 || fstat(fd, &st) < 0 || st.st_dev != file->dev || st.st_ino != file->ino ||
           could_read(io->owners, by, fd, &st);
}
