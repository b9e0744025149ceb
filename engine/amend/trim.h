/* Cuts off what an interrupted run appended past an image's end and nothing refers to. */
#ifndef QB_AMEND_TRIM_H
#define QB_AMEND_TRIM_H

#include "io/io.h"

/* Cuts the file, which must be open for writing and locked, after the last cluster that the image
 * refers to or counts, but not below `floor` bytes.  Returns the bytes cut off: 0 also where the
 * image is damaged or the cut failed, which costs space and nothing else. */
uint64_t qb_trim_tail(struct qb_io *io, struct qb_file *file, uint64_t floor,
                      uint64_t memory_limit);

/* Of an append that failed: adds to *err that the file is longer than `length`, if it is.  (Where a
 * quota of btrfs is used up, a file is not cut either.) */
void qb_trim_note(const struct qb_file *file, uint64_t length, struct qb_err *err);

#endif
