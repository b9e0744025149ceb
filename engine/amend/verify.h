/* Looking at an amended image again, as `verify` says: its header and tables as they come back from
 * the disk, and, for `content`, all that the guest can see. */
#ifndef QB_AMEND_VERIFY_H
#define QB_AMEND_VERIFY_H

#include "amend/verify_parts.h"
#include "check/content.h"

/* The guest's view before the first write, for qb_verify_amended. */
int qb_verify_remember(struct qb_io *io, const struct qb_plan *plan, struct qb_content *out,
                       struct qb_err *err);

/* Opens the image anew.  `wanted` is what its header must say, `before` what was remembered, or
 * NULL where only the metadata is looked at.  -1 with QB_E_VERIFY when something is not what was
 * planned or cannot be read, and with QB_E_MEMORY when memory was short.  `how`: see
 * verify_parts.h. */
int qb_verify_amended(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                      const struct qb_info *wanted, const struct qb_content *before,
                      struct qb_verify_header *how, struct qb_err *err);

#endif
