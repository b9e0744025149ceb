/* Verifies an amended image, as `verify` says: its header and tables as read back from the disk,
 * and, for `content`, all that the guest can see. */
#ifndef QB_AMEND_VERIFY_H
#define QB_AMEND_VERIFY_H

#include "amend/verify_parts.h"
#include "content/content.h"

/* Takes the fingerprint of the guest's view before the first write, for qb_verify_amended. */
int qb_verify_remember(struct qb_io *io, const struct qb_plan *plan, struct qb_content *out,
                       struct qb_err *err);

/* Opens the image again.  `wanted` is what its header must say, `before` the fingerprint from
 * before, or NULL where only the metadata is verified.  -1 with QB_E_VERIFY when something is not
 * what was planned or cannot be read, and with QB_E_MEMORY when memory was short.  `how`: see
 * verify_parts.h. */
int qb_verify_amended(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                      const struct qb_info *wanted, const struct qb_content *before,
                      struct qb_verify_header *how, struct qb_err *err);

#endif
