/* zlib, and the only file that uses it: compressed clusters are raw deflate, window of 12 bits.
 * Checksums of other things come from here too. */
#ifndef QB_QCOW2_DEFLATE_H
#define QB_QCOW2_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Inflates `in` into exactly `out_len` bytes; trailing input is allowed (sectors are padded). */
int qb_inflate(const void *in, size_t in_len, void *out, size_t out_len, struct qb_err *err);

/* CRC-32 (that of gzip and PNG) of `n` bytes more; begins with 0. */
uint32_t qb_crc32(uint32_t so_far, const void *bytes, size_t n);

#endif
