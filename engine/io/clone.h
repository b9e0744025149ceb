/* Clones: a second file that shares the first one's blocks until one of them is written (FICLONE:
 * XFS, btrfs, overlays of them).  Takes a moment and next to no space, however large the file. */
#ifndef QB_IO_CLONE_H
#define QB_IO_CLONE_H

#include "io/io.h"

/* Whether a clone can be made in this folder, which must exist: tries it with files without a name.
 * -1 with *err otherwise. */
int qb_clone_probe(const char *folder, struct qb_err *err);

/* The same without a write: -1 where the kind of file system is known to have no clones; 0 does not
 * promise that it has. */
int qb_clone_look(const char *folder, struct qb_err *err);

/* Clones the open file to `to`, whose folder must be on the same file system, with the file's mode
 * and, as far as this process may, its owner.  The name appears when the clone is whole; a file
 * that has it is replaced.  Durable behind the next barrier over `file` with QB_SYNC_FS. */
int qb_clone_make(const struct qb_file *file, const char *to, struct qb_err *err);

#endif
