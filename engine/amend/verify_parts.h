/* Verifies the header's bytes, without believing anything that they say. */
#ifndef QB_AMEND_VERIFY_PARTS_H
#define QB_AMEND_VERIFY_PARTS_H

#include "plan/plan.h"

/* How the header is read, and the result. */
struct qb_verify_header {
    bool direct;    /* in: try to read sector 0 with O_DIRECT */
    bool from_disk; /* out: it was; else sector 0 was read through the page cache */
    bool wrong;     /* out: sector 0 is not what was written, or cannot be read */
};

/* Compares sector 0 with what was written, and the header's extensions and backing name past it
 * with what was there before or was appended.  Compares bytes only and follows no offset that the
 * sector has.  -1 with QB_E_VERIFY. */
int qb_verify_header(struct qb_io *io, const struct qb_plan *plan, struct qb_file *file,
                     struct qb_verify_header *how, struct qb_err *err);

#endif
