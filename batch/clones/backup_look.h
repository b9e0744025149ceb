/* Looks whether the clones of a run, and the images that they are of, are as the run left them.
 * Opens nothing, and follows no link to a clone. */
#ifndef QB_CLONES_BACKUP_LOOK_H
#define QB_CLONES_BACKUP_LOOK_H

#include "journal/history.h"

enum qb_backup_state {
    QB_BACKUP_KEPT,       /* there, and as it was left: inode, owner, length, modification time */
    QB_BACKUP_CHANGED,    /* there, and written, or given to another owner, since */
    QB_BACKUP_REPLACED,   /* something else is at its path */
    QB_BACKUP_GONE,       /* nothing is */
    QB_BACKUP_PRUNED,     /* removed by `backup prune` */
    QB_BACKUP_RESTORED,   /* it is the image now */
    QB_BACKUP_UNRECORDED, /* of a run of an earlier version: the journal has no identity */
    QB_BACKUP_UNKNOWN,    /* its directory cannot be looked into */
};
extern const char *const qb_backup_states[]; /* "kept", for programs and people */

/* The state of one of the two files of `all`. */
enum qb_backup_state qb_backup_look(const struct qb_clones *all, const struct qb_clone *c);

/* Whether a file with this stat is the one, as it was left. */
enum qb_backup_state qb_backup_compare(const struct qb_clone *c, const struct stat *st);

enum qb_backed_up {
    QB_IMAGE_AS_LEFT,  /* by the run: inode, length, modification time */
    QB_IMAGE_WRITTEN,  /* since then; an undo does so too */
    QB_IMAGE_REPLACED, /* another file is at its path */
    QB_IMAGE_MISSING,
    QB_IMAGE_RESTORED, /* it is the clone */
    QB_IMAGE_UNKNOWN,  /* how the run left it is not recorded, or it cannot be looked at */
};
extern const char *const qb_backed_up_names[];

enum qb_backed_up qb_backup_look_at_image(const struct qb_trace *t);

#endif
