/* Inflates compressed clusters (raw deflate, 12-bit window), with zlib. */
#ifndef QB_QCOW2_DEFLATE_H
#define QB_QCOW2_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Inflates `in` into exactly `out_len` bytes; trailing input is allowed (sectors are padded). */
int qb_inflate(const void *in, size_t in_len, void *out, size_t out_len, struct qb_err *err);

const char *qb_deflate_version(void); /* of zlib: "1.2.13" */

#endif
