/* What a guest reads from an image that lies in memory: a reader of its own, small and without the
 * engine, that gives up on everything odd. */
#ifndef QB_TESTS_GUEST_H
#define QB_TESTS_GUEST_H

#include "fuzz.h"

#define GUEST_MAX (144u << 10) /* bytes of a layer that are looked at */

struct guest_image {
    const uint8_t *bytes;
    uint64_t size;
    const uint8_t *backing; /* what shows where nothing is allocated; may be NULL */
    uint64_t backing_size;
};

/* Layers: 0 is the active one, i + 1 snapshot i.  0 when there is no such image. */
unsigned guest_layers(const struct guest_image *img);

/* The virtual size in the header. */
uint64_t guest_size(const struct guest_image *img);

/* Fills `out` (GUEST_MAX bytes) with the layer's content from byte 0 on, VM state included, zeros
 * behind what its L1 table covers.  false when it cannot be read. */
bool guest_read(const struct guest_image *img, unsigned layer, uint8_t *out);

#endif
