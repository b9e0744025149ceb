/* Defines the big-endian fields of on-disk structures.  They are their own types so that a field
 * cannot be added, compared or printed without being read first (specification: "All numbers in
 * qcow2 are stored in Big Endian byte order"). */
#ifndef QB_BASE_BE_H
#define QB_BASE_BE_H

#include <stdint.h>

typedef struct {
    uint8_t raw[2];
} be16;
typedef struct {
    uint8_t raw[4];
} be32;
typedef struct {
    uint8_t raw[8];
} be64;

static inline uint16_t be16_get(be16 v)
{
    return (uint16_t)(v.raw[0] << 8 | v.raw[1]);
}

static inline uint32_t be32_get(be32 v)
{
    return (uint32_t)v.raw[0] << 24 | (uint32_t)v.raw[1] << 16 | (uint32_t)v.raw[2] << 8 | v.raw[3];
}

static inline uint64_t be64_get(be64 v)
{
    uint64_t n;
    __builtin_memcpy(&n, v.raw, 8);
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? n : __builtin_bswap64(n);
}

static inline be16 be16_of(uint16_t n)
{
    return (be16){{(uint8_t)(n >> 8), (uint8_t)n}};
}

static inline be32 be32_of(uint32_t n)
{
    return (be32){{(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

static inline be64 be64_of(uint64_t n)
{
    be64 v;
    if (__BYTE_ORDER__ != __ORDER_BIG_ENDIAN__)
        n = __builtin_bswap64(n);
    __builtin_memcpy(v.raw, &n, 8);
    return v;
}

#endif
