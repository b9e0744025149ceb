/* Detects files whose space was reserved, by fallocate or by writing all of it. */
#ifndef QB_IO_RESERVE_H
#define QB_IO_RESERVE_H

#include "io/io.h"

/* Whether the first `size` bytes of the file keep their allocation: its blocks (st_blocks) are no
 * fewer, and by FIEMAP there is an extent, an unwritten one too, for every block below `size`.
 * Where the file system has no FIEMAP, st_blocks alone decides.  Never true of a block device.
 *
 * In such a file unused space may be overwritten or zeroed (QB_OP_ZERO), but not punched, and the
 * file may be cut only to the length that it had when it was reserved.
 *
 * Reads no data.  One system call for a file with holes; else a few for each thousand extents,
 * between which the stop function of `io` is called: -1 with QB_E_CANCELLED. */
int qb_file_is_reserved(struct qb_io *io, const struct qb_file *file, uint64_t size, bool *reserved,
                        struct qb_err *err);

#endif
