/* Whether somebody could read a file: the kernel's rule, for a user who is not the caller.
 *
 * Pure functions over numbers; nothing is opened.  The rule is that of path_resolution(7) and
 * acl(5): root may, the owner has the owner's bits, then an ACL decides where there is one, then
 * the group's bits, then the others'.  Access rules that only a server knows (NFSv4, SMB) are not
 * seen. */
#ifndef QB_IO_MAY_H
#define QB_IO_MAY_H

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

enum { QB_MAY_SEARCH = 1, QB_MAY_READ = 4 };

/* Whether `who` has all of `wanted` (QB_MAY_ bits; search is for directories).  An ACL that cannot
 * be decoded permits nothing to those whom it would have decided about. */
bool qb_may(const struct qb_who *who, const struct qb_perms *perms, unsigned wanted);

#endif
