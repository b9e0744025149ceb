/* What the signs have in common (signs.c, signs_overwritten.c). */
#ifndef QB_CHECK_SIGNS_PARTS_H
#define QB_CHECK_SIGNS_PARTS_H

#include "check/signs.h"

enum { QB_SIGNS_BAD_MIN = 8 }; /* entries of a table; fewer may each have a cause of its own */

void qb_sign_tell(const struct qb_signs *signs, enum qb_defect defect, uint64_t offset,
                  const struct qb_guest_range *guest, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Reads n bytes for a sign: 1, or 0 where they cannot be read, since the findings are an answer
 * without it. */
int qb_sign_look(struct qb_io *io, const struct qb_signs *signs, uint64_t at, uint8_t *buf,
                 uint64_t n, struct qb_err *err);

/* What `n` entries of an L1 table map. */
struct qb_guest_range qb_sign_guest(const struct qb_image *img, uint64_t l1_index, uint64_t n);

/* Tells that a table was overwritten, if it looks like that; `buf` is a cluster. */
int qb_sign_overwritten(struct qb_io *io, const struct qb_signs *signs, const struct qb_census *c,
                        const struct qb_bad_table *bad, uint8_t *buf, struct qb_err *err);

#endif
