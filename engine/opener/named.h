/* Opens the files that images name: their backing files, at any depth of a chain.
 *
 * Anyone who can write to an image controls its header, while qbatch may read all files of the
 * host.  So a file is opened on behalf of two owners: that of the image that is amended or checked,
 * and that of the file whose header names it.  Both must be able to read it, by their uid, groups
 * and ACLs, and to reach it (policy.owner_must_read).  The first, because what is read may become
 * part of the image; the second, because otherwise another user's file in the middle of a chain
 * could point the chain at any file that the image's owner can read.  An owner who is not in the
 * user database has his uid and the group of his file; root reads everything.
 *
 * The check is of the open file: it is reached with O_PATH, its kind and permissions are checked
 * there, and only then is the same file opened for reading.  Nothing is read before, and no
 * character device or FIFO is opened. */
#ifndef QB_OPENER_NAMED_H
#define QB_OPENER_NAMED_H

#include "files/file.h"

struct qb_io;

/* The owner and group of a file whose header names another one, and its path for messages. */
struct qb_naming {
    uid_t uid;
    gid_t gid;
    const char *path; /* not owned */
};

static inline struct qb_naming qb_naming_of(const struct qb_file *file)
{
    return (struct qb_naming){file->uid, file->gid, file->path};
}

/* ---- the cache of owners ---------------------------------------------------------------------
 * The groups of each owner, looked up once, and the files that he was found to be able to read,
 * until their status changes.  May be used by many threads at a time; holds a mutex briefly, and
 * during queries of the user database. */
struct qb_owners;

/* Which files may be opened at all. */
struct qb_named_rules {
    bool anybody;             /* owners need not be able to read what their images name */
    const char *const *roots; /* files/roots.h; n_roots = 0: anywhere */
    size_t n_roots;
    bool one_file_system; /* of a root */
    bool notes_places;    /* qb_owners_places tells where the opened files are */
};

/* NULL with *err when memory is short, or a root cannot be opened. */
struct qb_owners *qb_owners_new(const struct qb_named_rules *rules, struct qb_err *err);
void qb_owners_free(struct qb_owners *owners);

/* Where the files lie that were opened so far: see qb_places_text (places.h). */
char *qb_owners_places(const struct qb_owners *owners);

/* Whether the error says that a file is not opened because of these rules: it is that of the image
 * that names it alone. */
static inline bool qb_named_refused(enum qb_code code)
{
    return code == QB_E_BACKING_REFUSED || code == QB_E_OUTSIDE_ROOTS;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Opens the file at `path`, read-only, that the header of `namer` names in the chain of `image`
 * (which may be the same), as the io's owners permit.  QB_E_BACKING_REFUSED when an owner could not
 * read or reach it, which the text explains, or when it is neither a regular file nor a block
 * device; QB_E_OUTSIDE_ROOTS; otherwise as qb_file_open. */
int qb_named_open(struct qb_io *io, struct qb_naming image, struct qb_naming namer,
                  const char *path, struct qb_file *out, struct qb_err *err);

/* Opens and claims (in_use.h) the external data file at `path` that the header of `image` names,
 * for an amend that may write to it.  QB_E_BACKING_REFUSED for the image itself, for a symbolic
 * link, for anything that is neither a regular file nor a block device, for a regular file of
 * another user than the image's, and when the image's owner could not read it, or write it where
 * how.writable is set; otherwise as qb_file_claim. */
struct qb_claim;
int qb_named_claim(struct qb_io *io, const struct qb_file *image, const char *path,
                   struct qb_claim how, struct qb_file *out, struct qb_err *err);

/* Opens that file read-only, for a check, with no locks.  The same files are refused. */
int qb_named_open_data(struct qb_io *io, const struct qb_file *image, const char *path,
                       struct qb_file *out, struct qb_err *err);

/* Whether a user could read the image `file`, which is at `path`, wherever he might reach it from:
 * he or a member of this group, whose own files count.  True, too, where that cannot be found out,
 * where owners need not be able to read what their images name, and where another file is there. */
bool qb_named_could_read(struct qb_io *io, struct qb_naming by, const char *path,
                         const struct qb_file *file);

/* Whether qb_named_open would open exactly `file` at `path` for an image of that owner. */
bool qb_named_is(struct qb_io *io, struct qb_naming image, const char *path,
                 const struct qb_file *file);

#endif
