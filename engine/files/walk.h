/* Follows a path as a given user could: search permission on every directory, links included. */
#ifndef QB_FILES_WALK_H
#define QB_FILES_WALK_H

#include <sys/stat.h>

#include "base/err.h"
#include "files/may.h"

/* A descriptor (O_PATH) of the file at `path` if `who` could read it: *fd, to be closed, and *st of
 * it.  A relative path begins in the current directory, which `who` must be able to reach from the
 * root; see way.h.
 *
 * -1 with QB_E_BACKING_REFUSED and "could not ..." if `who` could not, else with the failure. */
int qb_walk(const struct qb_who *who, const char *path, int *fd, struct stat *st,
            struct qb_err *err);

/* The permissions of the file behind an open descriptor, which may be O_PATH.  *acl is what its
 * list is read into, to be freed; NULL: it has none.  -1 with *err. */
int qb_perms_of(int fd, const struct stat *st, struct qb_perms *perms, char **acl,
                struct qb_err *err);

/* Whether `who` has the permission on the file behind an open descriptor, which may be O_PATH. -1
 * with *err when that cannot be determined. */
int qb_may_fd(const struct qb_who *who, int fd, const struct stat *st, unsigned wanted, bool *may,
              struct qb_err *err);

#endif
