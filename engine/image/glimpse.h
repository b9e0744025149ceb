/* Reads which backing file an image names, and nothing else, where its header as a whole cannot be
 * read: whoever must know what it may be based on is not left with the worst.
 *
 * It is as generous as the most generous reader of the format: the offset and length of the name
 * are at the same place in all versions, and what else the header says does not matter. */
#ifndef QB_IMAGE_GLIMPSE_H
#define QB_IMAGE_GLIMPSE_H

#include "io/io.h"
#include "qcow2/disk.h"

/* The name, up to a NUL in it; "" where no reader finds one: the file is not of version 1, 2 or 3,
 * names none, or one that is longer than the format allows or begins past the file's end.  -1 with
 * *err when it cannot be read.  Reads at most 20 bytes, and the name. */
int qb_glimpse_backing(struct qb_io *io, struct qb_file *file, char name[QB_MAX_BACKING_NAME + 1],
                       struct qb_err *err);

#endif
