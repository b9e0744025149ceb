/* Opens an image for an amend, and makes sure that no other process uses it.
 *
 * Three things are checked, each where the file system makes it meaningful (mounts.h):
 *
 * lease    whether another process has the file open for writing, with or without locks: a plain
 *          program, a loop device, QEMU with locking=off.  Regular files on file systems of this
 *          host.
 * flock    the lock of crosvm and others; held from then on, which excludes later ones.  The same
 *          files.
 * OFD      QEMU's locks (lock.c), also held.  Every file.
 *
 * A program that opens the image for writing later and takes none of these locks cannot be seen; an
 * amend notices it if it changes the header or the length before the flip. */
#ifndef QB_OPENER_IN_USE_H
#define QB_OPENER_IN_USE_H

#include "io/io.h"

struct qb_claim {
    bool writable;      /* false: for a dry run, which takes the same locks */
    bool without_locks; /* continue where locks do not reach every user */
    enum qb_on_link on_link;
};

/* Opens and locks the image.  QB_E_LOCKED, after a few attempts within some milliseconds, says how
 * it is in use; QB_E_NO_LOCKS that this cannot be determined here, unless `without_locks`.  After a
 * failure nothing is open or held, but out->size is the file's length if it was found out.
 *
 * out->without_locks: the file was claimed although locks do not reach every user.
 * out->writers_unseen: the lease was refused for another reason than a writer (only the file's
 * owner or CAP_LEASE may take one, and only on a file system that has leases). */
int qb_file_claim(struct qb_io *io, const char *path, struct qb_claim how, struct qb_file *out,
                  struct qb_err *err);

/* Opens an image read-only, with no locks, as qb_file_open does. */
int qb_image_file_open(struct qb_io *io, const char *path, struct qb_file *out, struct qb_err *err);

/* Opens an image to be read, with a reader's locks unless `without_locks`, and counts it for the
 * budget.  `opened`, where it has a file (of qb_opener_claim; NULL, or fd -1: none), is taken over.
 * *out is to be closed after a failure, too. */
int qb_image_file_begin(struct qb_io *io, const char *path, struct qb_file *opened,
                        bool without_locks, struct qb_file *out, struct qb_err *err);

#endif
