/* Inflates and deflates compressed clusters (raw deflate, 12-bit window, zlib's default level, as
 * QEMU writes them), with zlib. */
#ifndef QB_QCOW2_DEFLATE_H
#define QB_QCOW2_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Inflates `in` into exactly `out_len` bytes; trailing input is allowed (sectors are padded). */
int qb_inflate(const void *in, size_t in_len, void *out, size_t out_len, struct qb_err *err);

struct qb_deflater; /* zlib's memory, for any number of clusters, one after the other */

struct qb_deflater *qb_deflater_new(void); /* NULL when memory is short */
void qb_deflater_free(struct qb_deflater *d);

/* The length of the compressed bytes; 0 when they do not fit `room`. */
size_t qb_deflate(struct qb_deflater *d, const void *in, size_t len, void *out, size_t room);

const char *qb_deflate_version(void); /* of zlib: "1.2.13" */

#endif
