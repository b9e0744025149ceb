/* Finds out where each part of a disk comes from, as `qemu-img map` tells it: through the backing
 * chain, from the tables and the holes of files.  No guest data is read. */
#ifndef QB_CHAIN_DISK_MAP_H
#define QB_CHAIN_DISK_MAP_H

#include "io/io.h"

/* A stretch of the disk that is alike in all of this, and one piece of the file if it has a place
 * there.  As QEMU has it, a file that preallocated metadata is looked through: its data clusters
 * that are holes of the file are `data` and `zero`. */
struct qb_disk_run {
    uint64_t start, length; /* of the disk, bytes */
    unsigned depth;         /* 0 the image, 1 its backing file, ... */
    bool present; /* the file of that depth has it; false: it ends there, and reads zero */
    bool zero;    /* reads zero, whatever the file holds */
    bool data;    /* the file has bytes for it */
    bool compressed;
    bool has_offset; /* there is a place in the file of that depth, or in its data file */
    uint64_t offset; /* that place, bytes; else 0 */
};

/* Called for one run after the other; returns 0 to continue. */
typedef int qb_disk_run_fn(void *arg, const struct qb_disk_run *run, struct qb_err *err);

/* Calls fn for the runs of the disk of the image in `file`, in their order, without a gap, two that
 * could be one merged.  Backing files are opened for the image's owner (opener/named.h), and read
 * with a reader's locks unless `without_locks`; an external data file is opened only where its
 * holes matter.  Memory depends neither on the disk nor on the number of runs.  Errors are those of
 * qb_image_open and qb_chain_open, and QB_E_CORRUPT where a guest would get EIO. */
int qb_disk_map(struct qb_io *io, struct qb_file *file, bool without_locks, qb_disk_run_fn *fn,
                void *arg, struct qb_err *err);

#endif
