#include "clones/backup_look.h"

#include <errno.h>
#include <sys/stat.h>

const char *const qb_backup_states[] = {
    [QB_BACKUP_KEPT] = "kept",         [QB_BACKUP_CHANGED] = "changed",
    [QB_BACKUP_REPLACED] = "replaced", [QB_BACKUP_GONE] = "gone",
    [QB_BACKUP_PRUNED] = "pruned",     [QB_BACKUP_RESTORED] = "restored",
    [QB_BACKUP_UNKNOWN] = "unknown",   [QB_BACKUP_UNRECORDED] = "unrecorded",
};

const char *const qb_backed_up_names[] = {
    [QB_IMAGE_AS_LEFT] = "as_left",   [QB_IMAGE_WRITTEN] = "written",
    [QB_IMAGE_REPLACED] = "replaced", [QB_IMAGE_MISSING] = "missing",
    [QB_IMAGE_RESTORED] = "restored", [QB_IMAGE_UNKNOWN] = "unknown",
};

enum qb_backup_state qb_backup_compare(const struct qb_clone *c, const struct stat *st)
{
    struct qb_seen now = qb_seen_of_stat(st);

    if (!c->seen.valid)
        return QB_BACKUP_UNRECORDED;
    if (!qb_seen_is_same(&c->seen, &now))
        return QB_BACKUP_REPLACED;
    return qb_seen_is_unwritten(&c->seen, &now) && c->uid == st->st_uid && c->gid == st->st_gid
               ? QB_BACKUP_KEPT
               : QB_BACKUP_CHANGED;
}

enum qb_backup_state qb_backup_look(const struct qb_clones *all, const struct qb_clone *c)
{
    struct stat st;

    if (c->pruned)
        return QB_BACKUP_PRUNED;
    if (c == &all->before && all->restored)
        return QB_BACKUP_RESTORED;
    if (lstat(c->path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? QB_BACKUP_GONE : QB_BACKUP_UNKNOWN;
    return qb_backup_compare(c, &st);
}

enum qb_backed_up qb_backup_look_at_image(const struct qb_trace *t)
{
    struct qb_seen now;
    struct stat st;

    if (stat(t->path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? QB_IMAGE_MISSING : QB_IMAGE_UNKNOWN;
    now = qb_seen_of_stat(&st);
    if (qb_seen_is_same(&t->clones.before.seen, &now))
        return QB_IMAGE_RESTORED;
    if (!t->done.valid)
        return QB_IMAGE_UNKNOWN;
    if (!qb_seen_is_same(&t->done, &now))
        return QB_IMAGE_REPLACED;
    return qb_seen_is_unwritten(&t->done, &now) ? QB_IMAGE_AS_LEFT : QB_IMAGE_WRITTEN;
}
