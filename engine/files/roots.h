/* The places where files that images name must lie: policy.roots.
 *
 * A root is a directory, and all beneath it, or a block device.  A path is followed name by name
 * from "/" (way.h), each name from the directory that was reached, so nothing can be exchanged on
 * the way; "beneath" is decided by these directories themselves, not by the text of the path.
 * Outside of all roots only links of root and of the caller are followed.  A link beneath a root
 * may lead to other places beneath roots; one that root owns may also lead to a block device
 * anywhere, as those do that udev makes for logical volumes. */
#ifndef QB_FILES_ROOTS_H
#define QB_FILES_ROOTS_H

#include <sys/stat.h>

#include "base/err.h"

struct qb_roots;

/* Opens the roots.  `one_file_system`: a file must also be on the file system of a root.  NULL with
 * *err: a root is neither a directory nor a block device, or cannot be reached. */
struct qb_roots *qb_roots_open(const char *const *paths, size_t n, bool one_file_system,
                               struct qb_err *err);
void qb_roots_close(struct qb_roots *roots);

/* A descriptor (O_PATH) of the file at `path`: *fd, to be closed in any case, and *st of it.  With
 * `plain` a link at the end is not followed, and is what is reached.  QB_E_OUTSIDE_ROOTS when it is
 * not beneath a root, or would not be if it were there; the text ends with the line that would
 * allow it, if it is. */
int qb_roots_reach(const struct qb_roots *roots, const char *path, bool plain, int *fd,
                   struct stat *st, struct qb_err *err);

#endif
