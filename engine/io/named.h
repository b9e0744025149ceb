/* Opens the files that images name: their backing files, at any depth of a chain.
 *
 * The header of an image is the word of whoever can write to it, while qbatch may read all files of
 * the host.  So a file is opened on behalf of the owner of the image that is worked on and of the
 * owner of the file whose header names it: both must be able to read it, by their uid, groups and
 * ACLs, and must be able to reach it (policy.owner_must_read).  The first, because what is read may
 * become part of the image; the second, because otherwise a file in the middle of a chain that
 * somebody else can write could point the image's chain at whatever its owner can read.  An owner
 * that the user database does not know has his uid and the group of his file; root reads all.
 *
 * The answer is about the open file: it is reached with O_PATH, its kind and permissions are looked
 * at there, and only then is that very file opened for reading.  Nothing is read before, and no
 * device or FIFO is opened. */
#ifndef QB_IO_NAMED_H
#define QB_IO_NAMED_H

#include "io/file.h"

struct qb_io;

/* Whoever names a file: the owner and group of the image, and its path for complaints. */
struct qb_naming {
    uid_t uid;
    gid_t gid;
    const char *path; /* not owned */
};

static inline struct qb_naming qb_naming_of(const struct qb_file *file)
{
    return (struct qb_naming){file->uid, file->gid, file->path};
}

/* ---- what is remembered ----------------------------------------------------------------------
 * The groups of each owner, looked up once, and which files he was found to be able to read, until
 * their status changes.  May be used by many threads at a time; takes a lock for moments, and while
 * the user database is asked. */
struct qb_owners;

/* `anybody`: owners need not be able to read what their images name.  NULL when memory is short. */
struct qb_owners *qb_owners_new(bool anybody);
void qb_owners_free(struct qb_owners *owners);

/* ---- opening ---------------------------------------------------------------------------------
 */

/* Opens the file at `path`, read-only, that the header of `namer` names in the chain of `image`
 * (which may be the same), as the io's owners permit.  QB_E_BACKING_REFUSED, with who could not do
 * what, or when it is neither a regular file nor a block device; otherwise as qb_file_open. */
int qb_named_open(struct qb_io *io, struct qb_naming image, struct qb_naming namer,
                  const char *path, struct qb_file *out, struct qb_err *err);

/* Whether qb_named_open would open just `file` at `path` for an image of that owner. */
bool qb_named_is(struct qb_io *io, struct qb_naming image, const char *path,
                 const struct qb_file *file);

#endif
