#include "clones/prune.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "io/clone.h"
#include "files/way.h"
#include "clones/backup_look.h"

int qb_prune_permit(const struct qb_history *h, struct qb_err *err)
{
    if (h->superseded || (h->ended && h->left == 0))
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "run %s has not finished: its clones may still be needed", h->id);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static int check_state(enum qb_backup_state state, struct qb_err *err)
{
    switch (state) {
    case QB_BACKUP_KEPT:
        return 0;
    case QB_BACKUP_CHANGED:
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                       "the file was written, or given to another owner, since it was made: "
                       "somebody may use it as an image");
    case QB_BACKUP_UNRECORDED:
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the journal does not tell which file this was; remove it by hand");
    default:
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file is at this path now");
    }
}

/* Where the image is gone, another file has its name, or it was found damaged, the clone may be all
 * that is left of it. */
static int check_image(const struct qb_trace *t, const struct qb_clone *c, struct qb_err *err)
{
    if (access(t->path, F_OK) < 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the image is not there (%.200s): this may be the last copy", t->path);
    if (qb_backup_look_at_image(t) == QB_IMAGE_REPLACED)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "another file has the image's name now (%.200s): this may be the last copy "
                       "of the image that the run amended; if it is not, remove it by hand",
                       t->path);
    if (c == &t->clones.before && t->ended && t->status == QB_STATUS_FAILED && !t->undone)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the image failed (%s), and was not put back: it may be needed",
                       qb_code_name(t->code));
    return 0;
}

/* As backup.c and restore.c name them. */
static int check_name(const struct qb_history *run, const struct qb_trace *t,
                      const struct qb_clone *c, struct qb_err *err)
{
    char end[sizeof(run->id) + sizeof("..amended")];
    size_t n = (size_t)snprintf(end, sizeof(end), ".%s.%s", run->id,
                                c == &t->clones.amended ? "amended" : "bak");
    size_t len = strlen(c->path);

    if (run->id[0] && len > n && strcmp(c->path + len - n, end) == 0)
        return 0;
    return qb_fail(
        err, QB_E_REFUSED, QB_NOWHERE,
        "the journal gives it a name that the run gave to no file, which would end in %s", end);
}

static int follow_none(void *unused, const struct qb_way *way, struct qb_err *err)
{
    (void)unused;
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                   "\"%.80s\" in the path of the clone is a symbolic link now", way->name);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* The claimed file must be the one that the way led to: no link is followed. */
static int claim(struct qb_io *io, const struct qb_clone *c, struct qb_claim how,
                 const struct qb_way *way, struct qb_file *file, struct qb_err *err)
{
    struct stat st;

    if (qb_file_claim(io, c->path, how, file, err) < 0)
        return -1;
    if (fstat(file->fd, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot look at the clone");
    if (st.st_dev != way->st.st_dev || st.st_ino != way->st.st_ino)
        return check_state(QB_BACKUP_REPLACED, err);
    return check_state(qb_backup_compare(c, &st), err);
}

static int look_and_remove(struct qb_io *io, const struct qb_clone *c, struct qb_claim how,
                           bool dry_run, const struct qb_way *way, struct qb_pruned *out,
                           struct qb_err *err)
{
    QB_AUTO(qb_file_close) struct qb_file file = {.fd = -1};

    if (claim(io, c, how, way, &file, err) < 0 ||
        qb_clone_own_bytes(io, &file, &out->bytes, &out->bytes_known, err) < 0)
        return -1;
    if (!dry_run && unlinkat(way->dir, way->name, 0) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot remove the clone");
    out->removed = true;
    return 0;
}

int qb_prune_one(struct qb_io *io, const struct qb_history *run, const struct qb_trace *t,
                 const struct qb_clone *c, struct qb_claim how, bool dry_run, struct qb_pruned *out,
                 struct qb_err *err)
{
    const struct qb_way_rules rules = {.link = follow_none, .may_lack_last = true};
    QB_AUTO(qb_way_close) struct qb_way way;

    *out = (struct qb_pruned){0};
    if (check_name(run, t, c, err) < 0)
        return -1;
    if (qb_way_follow(c->path, &rules, &way, err) < 0) {
        out->nothing_there = err->code == QB_E_NOT_FOUND;
        return out->nothing_there ? 0 : -1;
    }
    if (way.fd < 0) {
        out->nothing_there = true;
        return 0;
    }
    if (check_state(qb_backup_compare(c, &way.st), err) < 0 || check_image(t, c, err) < 0)
        return -1;
    return look_and_remove(io, c, how, dry_run, &way, out, err);
}
