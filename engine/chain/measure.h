/* Computes the length that a copy of a disk would have as a new qcow2 file of QEMU's defaults, as
 * `qemu-img measure -O qcow2` does. */
#ifndef QB_CHAIN_MEASURE_H
#define QB_CHAIN_MEASURE_H

#include "image/bitmap.h"
#include "chain/disk_map.h"

/* The data of the runs seen so far. */
struct qb_measure {
    uint64_t data; /* bytes, in whole clusters of the copy */
    uint64_t end;  /* of the last of these clusters, byte of the disk */
};

struct qb_measured {
    uint64_t required;        /* bytes */
    uint64_t fully_allocated; /* bytes, when the guest has written all of the disk */
    bool has_bitmaps;
    uint64_t bitmaps; /* bytes in addition, if the bitmaps are copied, too */
};

/* To be called for each run of the map, in their order. */
void qb_measure_run(struct qb_measure *m, const struct qb_disk_run *run);

/* The result for a disk of `size` bytes, in whole sectors, of that image. */
struct qb_measured qb_measure_end(const struct qb_measure *m, const struct qb_image *img,
                                  const struct qb_bitmaps *bitmaps, uint64_t size);

#endif
