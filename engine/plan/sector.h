/* Composes sector 0, the 512 bytes whose write commits the amend. */
#ifndef QB_PLAN_SECTOR_H
#define QB_PLAN_SECTOR_H

#include "plan/target.h"

struct qb_sector {
    uint8_t bytes[QB_SECTOR];
    uint64_t name_at; /* if not 0: the backing name, or the rest of it, must be written here, at or
                         past byte 512, before the flip */
    uint64_t name_len;
    const char *name; /* the bytes to write there: a part of the target's name */
};

/* Composes the sector for t->header (whose table pointers are final) and sets the header's
 * backing_offset, backing_len and header_length.  `drop_stale_bitmaps`: a bitmaps extension that
 * the autoclear bit declares invalid is removed too (its clusters were freed), as it is on the way
 * down, for version 2 has no such bit.  QB_E_HEADER_FULL when the sector does not hold all that
 * must change together. */
int qb_sector_compose(const struct qb_image *img, struct qb_target *t, bool drop_stale_bitmaps,
                      struct qb_sector *out, struct qb_err *err);

#endif
