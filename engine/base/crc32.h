/* Computes CRC-32, as in gzip and PNG, with zlib. */
#ifndef QB_BASE_CRC32_H
#define QB_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continues the checksum `so_far` (0 at the start) with `n` bytes. */
uint32_t qb_crc32(uint32_t so_far, const void *bytes, size_t n);

#endif
