/* Persistent bitmaps, bit by bit, and what a request makes of them: the other opinion to
 * engine/amend/bitmap_*.c, with a byte for each bit. */
#ifndef QB_TESTS_READING_BITMAPS_H
#define QB_TESTS_READING_BITMAPS_H

#include "qbatch.h"

#include <stdbool.h>
#include <stdint.h>

#define READING_BITMAPS 12

struct reading_bitmap {
    char name[64];
    unsigned flags, granularity_bits;
    uint64_t extra;  /* a fingerprint of the extra data */
    uint64_t n_bits; /* for the disk's size */
    uint8_t *bits;   /* a byte each; those of an inconsistent bitmap are not compared */
};

struct reading_bitmaps {
    struct reading_bitmap list[READING_BITMAPS]; /* in the directory's order */
    unsigned n;
};

/* Appends one, all clear, for a disk of `size` bytes; NULL when there are too many. */
struct reading_bitmap *reading_bitmap_add(struct reading_bitmaps *b, const char *name,
                                          unsigned granularity_bits, unsigned flags, uint64_t size);

/* Appends what an entry of the directory says, of which `room` bytes are there at most, and sets
 * its length; NULL when it cannot be, or there are too many. */
struct reading_bitmap *reading_bitmap_decode(struct reading_bitmaps *b, const uint8_t *entry,
                                             uint64_t room, uint64_t size, uint64_t *len);

/* Sets n bits from bit `first` on, as far as there are so many: from `bytes`, or all as `ones` says
 * where that is NULL. */
void reading_bitmap_fill(struct reading_bitmap *b, uint64_t first, uint64_t n, const uint8_t *bytes,
                         bool ones);
void reading_bitmaps_free(struct reading_bitmaps *b);

/* Does to them what the request asks for by the key `bitmaps`, on a disk that has `size` bytes now;
 * bits that are new with it are clear.  Of one that is added the granularity is given. */
void reading_bitmaps_amend(struct reading_bitmaps *b, const struct qb_request *rq, uint64_t size);

/* "" when both have the same bitmaps, else what differs. */
const char *reading_bitmaps_differ(const struct reading_bitmaps *a,
                                   const struct reading_bitmaps *b);

#endif
