/* Finds out which features the kernel and a file system have, by trying them on an unnamed file, of
 * which nothing remains. */
#ifndef QB_IO_PROBE_H
#define QB_IO_PROBE_H

#include <stdbool.h>

struct qb_features {
    int ring_errno;         /* 0: io_uring can be used; else why not */
    unsigned ring_features; /* IORING_FEAT_ bits, from the kernel */
    int file_errno;  /* 0: a file could be made in the directory; else the rest is not known */
    bool locks;      /* open file description locks */
    bool leases;     /* read leases, which detect writers */
    bool holes;      /* SEEK_DATA finds them, and FALLOC_FL_PUNCH_HOLE makes them */
    bool zero_range; /* FALLOC_FL_ZERO_RANGE */
    bool direct;     /* O_DIRECT */
    bool reflink;    /* FICLONE */
};

void qb_features_find(const char *folder, struct qb_features *out);

const char *qb_ring_version(void); /* of liburing: "2.3" */

#endif
