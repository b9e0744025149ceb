/* Space that somebody reserved for a file: by fallocate, or by writing all of it. */
#ifndef QB_IO_RESERVE_H
#define QB_IO_RESERVE_H

#include "io/io.h"

/* Whether the file keeps its allocation: its blocks (st_blocks) are no fewer than its length, and
 * by FIEMAP there is an extent, an unwritten one too, for every block below its length.  Where the
 * file system has no FIEMAP, st_blocks alone decides.  Never true of a block device.
 *
 * Whoever changes such a file may overwrite or zero (QB_OP_ZERO) what it does not use any more, but
 * not punch it, and may cut the file only down to a length that it had when it was reserved.
 *
 * Reads no data.  One system call for a file with holes; else a few for each thousand extents,
 * between which the run's stop function is asked: -1 with QB_E_CANCELLED. */
int qb_file_is_reserved(struct qb_io *io, const struct qb_file *file, bool *reserved,
                        struct qb_err *err);

#endif
