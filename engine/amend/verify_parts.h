/* The parts of verification that do without a count: the header's bytes, and what a new size takes
 * into use. */
#ifndef QB_AMEND_VERIFY_PARTS_H
#define QB_AMEND_VERIFY_PARTS_H

#include "amend/plan.h"

/* How the header was looked at, and what came of it. */
struct qb_verify_header {
    bool direct;    /* in: try to read sector 0 with O_DIRECT */
    bool from_disk; /* out: that worked; else it was read through the page cache */
    bool wrong;     /* out: sector 0 is not what was written, or cannot be read */
};

/* Compares sector 0 with what was written, and what lies past it in the header's extensions and
 * backing name with what was there or was appended.  Looks at bytes only, so that nothing that the
 * sector says is believed.  -1 with QB_E_VERIFY. */
int qb_verify_header(struct qb_io *io, const struct qb_plan *plan, struct qb_file *file,
                     struct qb_verify_header *how, struct qb_err *err);

#endif
