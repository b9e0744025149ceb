/* Computes the fingerprint of a whole file.  A failed verification leaves it for the undo: where a
 * guest of such an image may have written is unknown, so the undo requires that no byte has
 * changed. */
#ifndef QB_AMEND_AS_FOUND_H
#define QB_AMEND_AS_FOUND_H

#include "base/digest.h"
#include "io/io.h"

/* Reads all data of the file, from the disk as far as the kernel allows; holes are skipped, and
 * equal zeros.  A block that cannot be read is hashed as unreadable, so that the fingerprint
 * differs once the block has been written.  Calls the stop function of `io`.  0, or -1 and *err. */
int qb_as_found(struct qb_io *io, struct qb_file *file, struct qb_digest *out, struct qb_err *err);

#endif
