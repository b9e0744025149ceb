/* Compresses and decompresses clusters with zstd, as QEMU writes them: one frame at zstd's default
 * level. */
#ifndef QB_QCOW2_ZSTD_H
#define QB_QCOW2_ZSTD_H

#include <stddef.h>

#include "base/err.h"

struct qb_zstd; /* zstd's memory, for any number of clusters, one after the other */

struct qb_zstd *qb_zstd_new(void); /* NULL when memory is short */
void qb_zstd_free(struct qb_zstd *z);

/* The length of the compressed bytes; 0 when they do not fit `room`. */
size_t qb_zstd_compress(struct qb_zstd *z, const void *in, size_t len, void *out, size_t room);

/* Decompresses `in` into exactly `out_len` bytes; trailing input is allowed (sectors are padded).
 */
int qb_zstd_decompress(struct qb_zstd *z, const void *in, size_t in_len, void *out, size_t out_len,
                       struct qb_err *err);

const char *qb_zstd_version(void); /* "1.5.4" */

#endif
