/* Caches the owners of images and the files that they can read; see named.h. */
#ifndef QB_OPENER_OWNERS_H
#define QB_OPENER_OWNERS_H

#include <sys/stat.h>

#include "files/may.h"
#include "opener/named.h"
#include "files/roots.h"

bool qb_owners_any(
    const struct qb_owners *owners); /* whether owners need not be able to read; NULL: false */

/* Notes that this file is opened, if that is wanted. */
void qb_owners_note(const struct qb_owners *owners, int fd, const struct stat *st,
                    const char *path);

/* NULL: files may lie anywhere. */
const struct qb_roots *qb_owners_roots(const struct qb_owners *owners);

/* The owner of a file with this uid and gid: *who, whose groups are *groups, to be freed.  Taken
 * from the cache (NULL: none), or the user database.  -1 when a query of that fails. */
int qb_owners_who(struct qb_owners *owners, uid_t uid, gid_t gid, struct qb_who *who,
                  gid_t **groups, struct qb_err *err);

/* Whether this owner was found to be able to read this file in this state; qb_owners_learn records
 * it. */
bool qb_owners_knows(struct qb_owners *owners, uid_t uid, gid_t gid, const struct stat *st);
void qb_owners_learn(struct qb_owners *owners, uid_t uid, gid_t gid, const struct stat *st);

#endif
