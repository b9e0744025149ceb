/* What is remembered of the owners of images; see named.h. */
#ifndef QB_IO_OWNERS_H
#define QB_IO_OWNERS_H

#include <sys/stat.h>

#include "io/may.h"
#include "io/named.h"

bool qb_owners_any(const struct qb_owners *owners); /* NULL: no */

/* Who the owner of such a file is: *who, whose groups are *groups, to be freed.  Asks the user
 * database, or what is remembered (NULL: nothing).  -1 when it does not answer. */
int qb_owners_who(struct qb_owners *owners, uid_t uid, gid_t gid, struct qb_who *who,
                  gid_t **groups, struct qb_err *err);

/* Whether this owner was found to be able to read this file, in this state; and that he was. */
bool qb_owners_knows(struct qb_owners *owners, uid_t uid, gid_t gid, const struct stat *st);
void qb_owners_learn(struct qb_owners *owners, uid_t uid, gid_t gid, const struct stat *st);

#endif
