/* The helper's side of look.h: whether it tells of a path that is no image's.
 *
 * Some owner of an image, or of a file that was opened for one, could look at it himself: he could
 * search each folder on the way.  And it is within the roots, unless it is a folder, which nobody
 * opens.  A path that leads to an image all the same is told, for an image is not made smaller
 * while another one names it, whoever owns that. */
#include <errno.h>
#include <stdlib.h>

#include "base/own.h"
#include "files/walk.h"
#include "files/way.h"
#include "opener/look_wire.h"
#include "opener/owners.h"

/* Folders on a way that not everybody may search. */
struct folder {
    struct qb_perms perms;
    char *acl; /* owned */
};

struct passing {
    QB_VEC(struct folder) folders;
};

static void forget(struct passing *p)
{
    qb_vec_each (f, &p->folders)
        free(f->acl);
    qb_vec_free(&p->folders);
}

static int note_folder(void *arg, const struct qb_way *way, struct qb_err *err)
{
    const mode_t all = S_IXUSR | S_IXGRP | S_IXOTH;
    struct passing *p = arg;
    struct folder f = {.acl = NULL};
    struct stat st;

    if (fstat(way->dir, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot stat a directory of the path");
    if (qb_perms_of(way->dir, &st, &f.perms, &f.acl, err) < 0)
        return -1;
    if (!f.acl && (st.st_mode & all) == all)
        return 0;
    if (qb_vec_push(&p->folders, f))
        return 0;
    free(f.acl);
    return qb_fail_memory(err);
}

/* By numbers alone, for there may be many owners. */
static bool might_pass(const struct passing *p, struct qb_owner owner)
{
    qb_vec_each (f, &p->folders)
        if (f->perms.uid != owner.uid && !f->acl && !(f->perms.mode & (S_IXGRP | S_IXOTH)))
            return owner.uid == 0;
    return true;
}

static bool passes(const struct passing *p, struct qb_owners *owners, struct qb_owner owner)
{
    QB_AUTO(qb_buf) gid_t *groups = NULL;
    struct qb_who who;
    bool may = might_pass(p, owner) &&
               qb_owners_who(owners, owner.uid, owner.gid, &who, &groups, NULL) == 0;

    for (size_t i = 0; may && i < p->folders.n; i++)
        may = qb_may(&who, &p->folders.items[i].perms, QB_MAY_SEARCH);
    return may;
}

/* The one that was known last comes first. */
static bool some_owner_passes(struct qb_opening_rules *rules, struct qb_owners *owners,
                              const struct passing *p)
{
    struct qb_owner owner;
    size_t i;

    pthread_mutex_lock(&rules->mutex);
    i = rules->known.n;
    pthread_mutex_unlock(&rules->mutex);
    while (i-- > 0) {
        pthread_mutex_lock(&rules->mutex);
        owner = rules->known.items[i];
        pthread_mutex_unlock(&rules->mutex);
        if (passes(p, owners, owner))
            return true;
    }
    return false;
}

static int errno_of(const struct qb_err *err)
{
    return err->sys_errno ? err->sys_errno : EACCES;
}

/* 0 with *st, or an errno. */
static int follow(struct qb_opening_rules *rules, struct qb_owners *owners, const char *path,
                  struct stat *st)
{
    struct passing p = {0};
    const struct qb_way_rules way_rules = {.arg = &p, .directory = note_folder};
    QB_AUTO(qb_way_close) struct qb_way way;
    struct qb_err err = {0};
    int errnum = qb_way_follow(path, &way_rules, &way, &err) < 0 ? errno_of(&err) : 0;

    if (!errnum)
        *st = way.st;
    if (!qb_owners_any(owners) && !some_owner_passes(rules, owners, &p))
        errnum = EACCES;
    forget(&p);
    return errnum;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Of a name that leads nowhere too: that there is none is told within the roots only. */
static int check_roots(const struct qb_roots *roots, const char *path, int errnum,
                       const struct stat *st)
{
    QB_AUTO(qb_fd_close) int fd = -1;
    struct qb_err err = {0};
    struct stat reached;

    if (!roots || (!errnum && S_ISDIR(st->st_mode)))
        return errnum;
    if (qb_roots_reach(roots, path, false, &fd, &reached, &err) < 0)
        return err.code == QB_E_OUTSIDE_ROOTS ? EACCES : errno_of(&err);
    return errnum || is_same(st, &reached) ? errnum : EACCES;
}

int qb_look_judge(struct qb_opening_rules *rules, struct qb_owners *owners, const char *path,
                  struct stat *st)
{
    const struct qb_roots *roots = qb_owners_roots(owners);
    int errnum;

    if (qb_owners_any(owners) && !roots)
        return stat(path, st) < 0 ? errno : 0;
    errnum = check_roots(roots, path, follow(rules, owners, path, st), st);
    if (errnum != EACCES || !rules->has_file)
        return errnum;
    return stat(path, st) == 0 && rules->has_file(rules->arg, st) ? 0 : EACCES;
}
