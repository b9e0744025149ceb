/* Decides by the file system which locks reach every user who can open a file.
 *
 * The answer comes from the lines of /proc/self/mountinfo (file system type, mount options) and a
 * table; it is looked up once per mount and cached by the worker (struct qb_io). */
#ifndef QB_FILES_MOUNTS_H
#define QB_FILES_MOUNTS_H

#include "base/vec.h"
#include "files/file.h"

enum qb_locking {
    QB_LOCKING_HERE,   /* used only by this host: locks, flock(2) and leases reach every user */
    QB_LOCKING_SERVED, /* byte-range locks reach other hosts; flock(2) and leases are not used */
    QB_LOCKING_NONE,   /* byte-range locks do not reach every user who can open the file */
};

struct qb_mount {
    uint64_t id; /* 0 if statx does not return it */
    dev_t dev;   /* identifies the mount then; subvolumes of one mount have many */
    enum qb_locking locking;
    const char *why; /* with QB_LOCKING_NONE: a constant phrase, "locks are ..." */
    char type[40];   /* "nfs4", "fuse.sshfs"; truncated */
};

/* The fields of a line of mountinfo.  The texts point into the line. */
struct qb_mountinfo {
    uint64_t id;
    dev_t dev;
    const char *type, *source;
    const char *options; /* of the file system, not of this mount; with octal escapes */
};

/* Parses a line, and modifies it; false when it is not a line of mountinfo. */
bool qb_mountinfo_parse(char *line, struct qb_mountinfo *out);

/* Decides by type and options alone.  *why is set with QB_LOCKING_NONE. */
enum qb_locking qb_mountinfo_locking(const struct qb_mountinfo *mount, const char **why);

struct qb_mounts {
    QB_VEC(struct qb_mount) items;
};
void qb_mounts_free(struct qb_mounts *mounts);

/* The mount of an open file that is not a memory file; valid until the next call.  NULL when memory
 * is short. */
const struct qb_mount *qb_mounts_find(struct qb_mounts *mounts, const struct qb_file *file);

#endif
