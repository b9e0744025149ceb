/* Where a file that a run leaves may be: reaches its directory and looks at what is there already.
 *
 * The program often runs as root in directories that others can write to.  So a symbolic link is
 * followed only when root or the caller owns it; a file of another user is not touched, nor is one
 * with more names in a directory that others can write to; and a block device never is.  All is
 * looked at on open descriptors, which are then what is used. */
#ifndef QB_UTIL_OUTPUT_PLACE_H
#define QB_UTIL_OUTPUT_PLACE_H

#include "io/way.h"

struct qb_outplace {
    struct qb_way way; /* directory and name; fd and st of what is there, or fd -1 */
    bool given;        /* it is an open file of a process: /dev/stdout, /dev/fd/N */
};

/* -1 with *err: it cannot be reached, or must not be written.  Close *place either way. */
int qb_outplace_find(const char *path, struct qb_outplace *place, struct qb_err *err);
void qb_outplace_close(struct qb_outplace *place);

/* Opens what is there: its very inode, with the flags of open(2).  -1 with errno. */
int qb_outplace_open(const struct qb_outplace *place, int flags);

/* Whether what is under that name in the directory now may be replaced.  Nothing may. */
bool qb_outplace_is_free(const struct qb_outplace *place);

#endif
