/* A small valid image with clusters of 512 bytes, in memory: every kind of cluster, snapshots that
 * share some of it, persistent bitmaps, VM state.  It is the soil that hostile bytes are sown on;
 * it is built without the engine, so that the two check each other. */
#ifndef QB_TESTS_TINY_H
#define QB_TESTS_TINY_H

#include "fuzz.h"

#define TINY_CLUSTER 512u
#define TINY_ROOM    (96u << 10) /* bytes that an image may grow to */

enum {
    TINY_LAYERS = 3, /* the active one and two snapshots */
    TINY_L1 = 4,     /* entries: three for the disk, one for VM state */
    TINY_ENTRIES = 8 /* of each L2 table that hold something */
};

/* What an entry of an L2 table is.  The "as active" kinds name what the active layer has there. */
enum tiny_kind {
    TINY_NOTHING,
    TINY_ZERO,
    TINY_ZERO_ALLOCATED,
    TINY_DATA,
    TINY_DATA_AS_ACTIVE,
    TINY_ZERO_AS_ACTIVE,
    TINY_COMPRESSED,
    TINY_COMPRESSED_AS_ACTIVE,
    TINY_KINDS
};

struct tiny_shape {
    unsigned version;
    unsigned refcount_order;
    unsigned snapshots; /* 0..2 */
    bool dirty, odd_size, bitmaps, unknown_ext, short_header, no_extra;
    bool shares[TINY_LAYERS][TINY_L1]; /* a snapshot names the active layer's L2 table */
    uint8_t kinds[TINY_LAYERS][TINY_L1][TINY_ENTRIES];
    const char *backing; /* path of a raw file, or NULL */
};

/* Where the parts lie: places for hostile values. */
enum { TINY_PARTS = 24 };

struct tiny {
    uint8_t bytes[TINY_ROOM];
    uint64_t size;
    uint64_t parts[TINY_PARTS]; /* bytes */
    unsigned n_parts;
};

void tiny_build(const struct tiny_shape *shape, struct tiny *out);

#endif
