/* Makes clones: files that share the blocks of another file until either is written (FICLONE: XFS,
 * btrfs, overlays of them).  Time and space hardly depend on the file's size. */
#ifndef QB_IO_CLONE_H
#define QB_IO_CLONE_H

#include <sys/stat.h>

#include "io/io.h"

/* 0 if a clone can be made in this directory, which must exist: tries it with unnamed files.  -1
 * with *err otherwise. */
int qb_clone_probe(const char *folder, struct qb_err *err);

/* Like qb_clone_probe without a write: -1 if this type of file system is known to have no clones; 0
 * does not guarantee that it has. */
int qb_clone_look(const char *folder, struct qb_err *err);

/* Clones the open file, or its first `length` bytes where it is longer, whose resolved path is
 * `real`, to its name plus `suffix` in the same directory, with the file's owner, mode, access
 * control list and labels (attributes.h), and without the bits of a mode that give rights to who
 * runs it.  The name appears when the clone is complete; it replaces an older clone, a regular file
 * of the same owner or the caller, and nothing else. *made is the stat of the clone.  QB_E_CHANGED
 * if the path now leads through a link or to another file.  Durable after the next barrier over
 * `file` with QB_SYNC_FS. */
int qb_clone_make(const struct qb_file *file, uint64_t length, const char *real, const char *suffix,
                  struct stat *made, struct qb_err *err);

/* The bytes that would be free without this file: those of its extents that no other file shares.
 * Reads no data: a call for each hundred extents, between which the stop function of `io` is called
 * (-1 with QB_E_CANCELLED).  *known is false where the file system does not tell. */
int qb_clone_own_bytes(struct qb_io *io, const struct qb_file *file, uint64_t *bytes, bool *known,
                       struct qb_err *err);

#endif
