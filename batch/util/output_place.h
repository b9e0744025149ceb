/* Decides whether an output file may be written at a path: opens its directory and examines an
 * existing file.
 *
 * The program often runs as root in directories that other users can write to.  So a symbolic link
 * is followed only if root or the caller owns it; a file of another user is not touched, nor is one
 * with several names in a directory that other users can write to, nor any block device.  All
 * checks are on open descriptors, which are then used. */
#ifndef QB_UTIL_OUTPUT_PLACE_H
#define QB_UTIL_OUTPUT_PLACE_H

#include "files/way.h"

struct qb_outplace {
    struct qb_way way; /* directory and name; fd and st of the existing file, or fd -1 */
    bool given;        /* an open file of a process: /dev/stdout, /dev/fd/N */
};

/* -1 with *err: it cannot be reached, or must not be written.  Close *place in either case. */
int qb_outplace_find(const char *path, struct qb_outplace *place, struct qb_err *err);
void qb_outplace_close(struct qb_outplace *place);

/* Whether it is the open file that is standard output.  A shell may have appended there, and a
 * socket cannot be opened by its name, so that is written through the descriptor. */
bool qb_outplace_is_stdout(const struct qb_outplace *place);

/* Opens the existing file, by its inode, with the flags of open(2).  -1 with errno. */
int qb_outplace_open(const struct qb_outplace *place, int flags);

/* Whether the file of that name that is in the directory now may be replaced; true if there is
 * none. */
bool qb_outplace_is_free(const struct qb_outplace *place);

#endif
