#include "base/crc32.h"

#include <zlib.h>

uint32_t qb_crc32(uint32_t so_far, const void *bytes, size_t n)
{
    return (uint32_t)crc32_z(so_far, bytes, n);
}
