/* Checks that an external data file is as long as the image's mappings need.
 *
 * QEMU reads zeros past the end of a data file, so a file that was cut, or replaced by a shorter
 * one, is lost data that no other check notices. */
#ifndef QB_CHECK_DATA_END_H
#define QB_CHECK_DATA_END_H

#include "check/census.h"

/* The bytes that the data file must have for entry `i` of this table, which lies in it at its guest
 * offset; 0 for one that holds no data, is misplaced, or belongs to snapshots only.  0 also past
 * the disk's end: `qemu-img resize` cuts the file there, whatever VM state it has. */
uint64_t qb_data_end_of(const struct qb_image *img, const struct qb_l2_table *t,
                        const uint8_t *table, uint64_t i);

/* Once the census was taken: notes what is mapped past `size`, the data file's length in bytes, and
 * that a raw one is shorter than the disk.  Reads tables only if something is. */
int qb_data_end_check(struct qb_io *io, struct qb_census *c, uint64_t size, struct qb_err *err);

#endif
