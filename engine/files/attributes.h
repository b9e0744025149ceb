/* Gives a file the owner, mode, access control list and labels of another one. */
#ifndef QB_FILES_ATTRIBUTES_H
#define QB_FILES_ATTRIBUTES_H

#include <sys/stat.h>

#include "base/err.h"

/* Gives the open file `to` what decides who may use `from`, whose stat is *st:
 *
 * - the security label (SELinux, Smack) and all attributes user.*;
 * - owner and group.  Where this process may not set them, the file stays its own, with mode 0600,
 *   and gets no list;
 * - the POSIX access control list, or none where `from` has none, whatever the directory's default;
 * - the mode, without the bits for set-user-ID, set-group-ID and sticky.
 *
 * File capabilities, attributes trusted.*, and those that belong to one file (ima, evm) stay
 * behind. -1 with *err where `from` has a label, an attribute or a list that `to` cannot be given:
 * it is still mode 0600 then, if it was. */
int qb_attributes_copy(int from, int to, const struct stat *st, struct qb_err *err);

#endif
