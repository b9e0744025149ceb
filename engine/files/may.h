/* Decides whether a user other than the caller could read a file, by the kernel's rules.
 *
 * Pure functions over numbers; nothing is opened.  The rules are those of path_resolution(7) and
 * acl(5): root has every permission, the owner has the owner's bits, then the ACL decides if there
 * is one, then the group's bits, then the others'.  Access rules that only a server has (NFSv4,
 * SMB) are not seen. */
#ifndef QB_FILES_MAY_H
#define QB_FILES_MAY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct qb_who {
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* supplementary ones */
    size_t n_groups;
};

struct qb_perms {
    uid_t uid;
    gid_t gid;
    mode_t mode;
    const void *acl; /* the value of system.posix_acl_access; NULL: none */
    size_t acl_len;  /* bytes */
};

enum { QB_MAY_SEARCH = 1, QB_MAY_WRITE = 2, QB_MAY_READ = 4 };

/* Whether `who` has all of `wanted` (QB_MAY_ bits; search is for directories).  An ACL that cannot
 * be decoded permits nothing to the users about whom it would decide. */
bool qb_may(const struct qb_who *who, const struct qb_perms *perms, unsigned wanted);

#endif
