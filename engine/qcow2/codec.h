/* Compresses and decompresses clusters in the way that a header names. */
#ifndef QB_QCOW2_CODEC_H
#define QB_QCOW2_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum qb_compression { QB_ZLIB = 0, QB_ZSTD = 1 }; /* as in the header */

struct qb_codec; /* the library's memory, for any number of clusters, one after the other */

/* The memory that it takes at most for clusters of that size, bytes. */
static inline uint64_t qb_codec_memory(uint64_t cluster_size)
{
    return (UINT64_C(2) << 20) + cluster_size;
}

struct qb_codec *qb_codec_new(enum qb_compression type); /* NULL when memory is short */
void qb_codec_free(struct qb_codec *c);

/* The length of the compressed bytes; 0 when they do not fit `room`.  The same bytes give the same
 * result each time. */
size_t qb_codec_compress(struct qb_codec *c, const void *in, size_t len, void *out, size_t room);

/* Decompresses `in` into exactly `out_len` bytes; trailing input is allowed (sectors are padded).
 * QB_E_CORRUPT when that cannot be. */
int qb_codec_decompress(struct qb_codec *c, const void *in, size_t in_len, void *out,
                        size_t out_len, struct qb_err *err);

/* For a single cluster. */
int qb_decompress(enum qb_compression type, const void *in, size_t in_len, void *out,
                  size_t out_len, struct qb_err *err);

#endif
