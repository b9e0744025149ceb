/* Puts a file in the place of another one of the same directory, and keeps the other one.
 *
 *     exchange   the two names, in one step: at every moment the place has one file or the other
 *     aside      the replaced file goes from the name that the first one had to a third name
 *
 * Nothing is removed or overwritten, and each step is durable before the next: whatever is
 * interrupted, both files are there, and doing it again finishes it. */
#ifndef QB_FILES_PUT_BACK_H
#define QB_FILES_PUT_BACK_H

#include <sys/stat.h>

#include "files/file.h"

struct qb_put_back {
    int dir;                         /* of all three names; may be O_PATH */
    const char *name, *from, *aside; /* the place; the names that the two files have otherwise */
    const struct qb_file *there; /* the file that is replaced, open; both are held by the caller */
    const struct qb_file *back;  /* the file that takes its place, open */
};

/* Whether qb_put_back would begin: the names lead to these files, the one to be replaced has no
 * other name, and nothing is at `aside`.  -1 with *err. */
int qb_put_back_check(const struct qb_put_back *p, struct qb_err *err);

/* Gives `back` the attributes of `there` (attributes.h), and exchanges the two names.  Refuses,
 * with both files at their names, where one of them was exchanged meanwhile. */
int qb_put_back(const struct qb_put_back *p, struct qb_err *err);

/* Moves the replaced file, with inode number `ino` (0: not known), from `from` to `aside`; it may
 * be there already.  Its stat, or st_ino 0 where it is at neither.  `there` is not used. */
int qb_put_aside(const struct qb_put_back *p, uint64_t ino, struct stat *st, struct qb_err *err);

#endif
