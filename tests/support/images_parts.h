/* Parts of images.c: QEMU's table of feature names, and the external data file, which has each
 * guest cluster at its guest offset, and, where the guest has nothing, what the shape says. */
#ifndef QB_TESTS_IMAGES_PARTS_H
#define QB_TESTS_IMAGES_PARTS_H

#include "images.h"

#define IMAGE_FEATURE_BYTES 384u
void image_feature_names(uint8_t rows[IMAGE_FEATURE_BYTES]);

/* What the guest wrote so far, whether or not it still shows. */
struct image_data {
    uint8_t *bytes; /* owned */
    uint64_t room;
};

/* The n bytes of the guest cluster at `guest`, to be filled. */
uint8_t *image_data_cluster(struct image_data *d, uint64_t guest, uint64_t n);

/* A new data file of a disk of `size` bytes that holds nothing yet. */
void image_data_begin(const struct image_shape *shape, uint64_t size, struct image_bytes *out);

/* The guest's cluster of n bytes at `guest` goes there, as far as it lies on a disk of `size`
 * bytes: those of its 32 subclusters whose bit is set. */
void image_data_show(const struct image_data *d, uint64_t guest, uint64_t n, uint32_t subclusters,
                     uint64_t size, struct image_bytes *out);

#endif
