/* Sector 0, the 512 bytes whose write makes the amended image the image. */
#ifndef QB_AMEND_SECTOR_H
#define QB_AMEND_SECTOR_H

#include "amend/target.h"

struct qb_sector {
    uint8_t bytes[QB_SECTOR];
    uint64_t name_at; /* != 0: (the rest of) the backing name must be written here, at or past byte
                         512, before the flip */
    uint64_t name_len;
    const char *name; /* these bytes, a part of the target's name */
};

/* Composes the sector for t->header (whose table pointers are final) and sets the header's
 * backing_offset, backing_len and header_length.  `drop_stale_bitmaps`: a bitmaps extension that
 * the autoclear bit declares invalid goes too (its clusters were freed).  QB_E_HEADER_FULL when
 * what must change together does not fit. */
int qb_sector_compose(const struct qb_image *img, struct qb_target *t, bool drop_stale_bitmaps,
                      struct qb_sector *out, struct qb_err *err);

#endif
