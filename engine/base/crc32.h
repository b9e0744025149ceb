/* CRC-32, that of gzip and PNG; by zlib. */
#ifndef QB_BASE_CRC32_H
#define QB_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `n` bytes more; begins with 0. */
uint32_t qb_crc32(uint32_t so_far, const void *bytes, size_t n);

#endif
