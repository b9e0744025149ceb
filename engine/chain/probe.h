/* Detects the format of a backing file that the header does not declare. */
#ifndef QB_CHAIN_PROBE_H
#define QB_CHAIN_PROBE_H

#include "io/io.h"
#include "qcow2/disk.h"

/* The format, by qemu-img's name, of a file that begins with these bytes: that of the first known
 * image format whose mark is there, else "raw".  `head` is zero past the end of a shorter file. */
const char *qb_probe_magic(const uint8_t head[QB_SECTOR]);

/* The format of the file at `path`, which a backing name of the image names or will name, and which
 * its owner must be able to read (opener/named.h): "qcow2" where it begins with a qcow2 header that
 * can be read, "raw" where it begins like no known image format.  A file that looks like another
 * format is QB_E_REFUSED: a raw disk on which a guest wrote such bytes and an image of that format
 * look the same, and confusing them would hand the guest's bytes to the host as metadata.  Reads
 * the file's beginning, without locks: a header is whole at every moment. */
int qb_probe_format(struct qb_io *io, const struct qb_file *image, const char *path,
                    const char **fmt, struct qb_err *err);

#endif
