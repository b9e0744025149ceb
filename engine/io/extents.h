/* Lists the extents of a file, as far as the file system tells them (FIEMAP). */
#ifndef QB_IO_EXTENTS_H
#define QB_IO_EXTENTS_H

#include "io/io.h"

enum { QB_EXTENTS = 128 }; /* in one call */

struct qb_extent {
    uint64_t first, end; /* bytes of the file */
    bool shared;         /* other files have the same blocks */
    bool unwritten;      /* reserved only: it reads zero */
    bool last;           /* of the file */
};

/* The extents that end past byte `at`, the first ones of them; returns how many, 0 where there are
 * no more, -1 if the file system does not support FIEMAP.  Unwritten extents are among them. */
int qb_extents_from(int fd, uint64_t at, struct qb_extent out[QB_EXTENTS]);

typedef int qb_extent_fn(void *arg, const struct qb_extent *extent, struct qb_err *err);

/* Calls fn for each extent that ends past byte `at`, in their order, past the file's end, too.
 * Without FIEMAP they are what SEEK_DATA finds, and all of a block device is one.  What is only in
 * the page cache is written back first: until then it is called unwritten.  fn returns 0, or -1
 * with *err, which ends the walk; so does the stop function of `io`, which is asked between system
 * calls. */
int qb_extents_each(struct qb_io *io, struct qb_file *file, uint64_t at, qb_extent_fn *fn,
                    void *arg, struct qb_err *err);

/* The extents of a file from byte 0 on, if one call lists them all: for several walks, none of
 * which asks the file system again. */
struct qb_extent_list {
    struct qb_extent items[QB_EXTENTS];
    int n;
    bool whole; /* else there are more, or it is not known */
};

/* Nothing may change the file's extents while the list is in use. */
void qb_extents_list(struct qb_file *file, struct qb_extent_list *out);

/* As qb_extents_each, by the list where that is whole. */
int qb_extents_each_listed(const struct qb_extent_list *list, struct qb_io *io,
                           struct qb_file *file, uint64_t at, qb_extent_fn *fn, void *arg,
                           struct qb_err *err);

/* Whether these extents and SEEK_DATA come from one map of the file system, so that what FIEMAP
 * leaves out is a hole: ext4 and XFS, once dirty pages are written back.  Elsewhere only SEEK_DATA
 * is trusted with holes. */
bool qb_extents_are_exact(const struct qb_file *file);

#endif
