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

/* Clones the open file, whose real path that is, to its name with `suffix` in the directory that
 * holds it, with the file's mode and, as far as this process may, its owner.  The name appears when
 * the clone is whole; an older clone, a plain file of the same owner or the caller, is replaced,
 * and nothing else is.  QB_E_CHANGED where the path leads through a link or to another file by now.
 * Durable behind the next barrier over `file` with QB_SYNC_FS. */
int qb_clone_make(const struct qb_file *file, const char *real, const char *suffix,
                  struct qb_err *err);

#endif
