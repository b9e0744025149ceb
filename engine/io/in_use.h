/* Opening an image for an amend, and making sure that nobody else uses it.
 *
 * Three things are asked, each where it means something (mounts.h):
 *
 * lease    whether somebody has the file open for writing, with or without locks: a plain program,
 *          a loop device, QEMU with locking=off.  Regular files on file systems of this host.
 * flock    what crosvm and others hold; held from then on, which keeps those out that come later.
 *          The same files.
 * OFD      QEMU's locks (lock.c), also held.  Everywhere.
 *
 * What nobody can see is a program that opens the image for writing later and takes none of these
 * locks; an amend notices it by the header or the length that it changes before the flip. */
#ifndef QB_IO_IN_USE_H
#define QB_IO_IN_USE_H

#include "io/io.h"

struct qb_claim {
    bool writable;      /* false: for a dry run, which takes the same locks */
    bool without_locks; /* go on where locks do not reach everybody */
};

/* Opens and locks the image.  QB_E_LOCKED says how it is in use, after a few attempts within some
 * milliseconds; QB_E_NO_LOCKS that it cannot be known here, unless `without_locks`.  After a
 * failure nothing is open or held, but out->size is what was seen of the file's length, if
 * anything.
 *
 * Of the open file, without_locks says that it was claimed all the same, and writers_unseen that
 * the lease was refused for another reason than a writer: it takes the owner of the file or
 * CAP_LEASE, and a file system that has leases. */
int qb_file_claim(struct qb_io *io, const char *path, struct qb_claim how, struct qb_file *out,
                  struct qb_err *err);

#endif
