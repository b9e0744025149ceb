/* Finds out whether the clusters of an image were allocated before anything was written to them. */
#ifndef QB_IMAGE_PREALLOCATED_H
#define QB_IMAGE_PREALLOCATED_H

#include "image/image.h"

/* As QEMU decides it (qcow2_detect_metadata_preallocation): whether the refcounts count clearly
 * more clusters than the file occupies.  Reads refcount blocks only where the file has holes;
 * blocks that are damaged are an answer of false. */
int qb_is_preallocated(struct qb_io *io, const struct qb_image *img, bool *is, struct qb_err *err);

#endif
