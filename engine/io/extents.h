/* Lists the extents of a file, as far as the file system tells them (FIEMAP). */
#ifndef QB_IO_EXTENTS_H
#define QB_IO_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QB_EXTENTS = 128 }; /* in one call */

struct qb_extent {
    uint64_t first, end; /* bytes of the file */
    bool shared;         /* other files have the same blocks */
    bool last;           /* of the file */
};

/* The extents that end past byte `at`, the first ones of them; returns how many, 0 where there are
 * no more, -1 if the file system does not support FIEMAP.  Unwritten extents are among them. */
int qb_extents_from(int fd, uint64_t at, struct qb_extent out[QB_EXTENTS]);

#endif
