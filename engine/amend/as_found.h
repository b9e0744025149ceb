/* The fingerprint of a whole file.  Verification that failed leaves it for the undo: of an image
 * that is not what was planned, nothing is known of where a guest may have written, so that the
 * undo requires that no byte has changed. */
#ifndef QB_AMEND_AS_FOUND_H
#define QB_AMEND_AS_FOUND_H

#include "check/digest.h"
#include "io/io.h"

/* Reads all data of the file, from the disk as far as the kernel allows, without its holes: a hole
 * and zeros are the same.  A block that cannot be read counts as such, so that the fingerprint
 * differs once the block has been written.  Asks the stop function of `io`.  0, or -1 and *err. */
int qb_as_found(struct qb_io *io, struct qb_file *file, struct qb_digest *out, struct qb_err *err);

#endif
