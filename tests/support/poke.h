/* Bytes of an image that are spoiled: in the header, or in the first table of a kind that the
 * header leads to. */
#ifndef QB_TESTS_POKE_H
#define QB_TESTS_POKE_H

#include <stdint.h>

enum place {
    IN_HEADER,
    IN_L1,
    IN_TABLE,
    IN_DATA,
    IN_SNAPSHOTS,
    IN_REFTABLE,
    IN_BLOCK,
    IN_SNAPSHOT_L1, /* the first snapshot's */
    IN_SNAPSHOT_TABLE,
    N_PLACES
};

/* `len` bytes, big-endian, at byte `at` of the place; len 0 ends a list. */
struct poke {
    unsigned in, at, len; /* an enum place */
    uint64_t value;
};

/* Puts the lower `n` bytes of a number, big-endian. */
void poke_be(uint8_t *at, uint64_t value, unsigned n);

/* The byte of the image where the place begins; IN_DATA is the cluster of the first L2 entry. */
uint64_t poke_place(const uint8_t *bytes, enum place in);

void poke_image(uint8_t *bytes, const struct poke *p);

#endif
