/* Reads all data that entries of any layer map, and finds clusters that cannot be read, and
 * compressed ones that do not inflate.  Holes are not read. */
#ifndef QB_CONTENT_READABLE_H
#define QB_CONTENT_READABLE_H

#include "check/census.h"

/* After the census, which it adds its findings to.  `data` is the file that holds the clusters: the
 * image, or its external data file.  Data clusters are read once, in the order of the file, and
 * compressed ones once more to be decompressed. */
int qb_readable_check(struct qb_io *io, struct qb_census *c, struct qb_file *data,
                      struct qb_err *err);

#endif
