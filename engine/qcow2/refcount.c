#include "qcow2/refcount.h"

#include <string.h>

bool qb_refcount_all(const uint8_t *block, uint64_t i, uint64_t n, unsigned order, uint64_t value)
{
    const uint8_t *at = block + (i << order) / 8;
    uint64_t bytes = (n << order) / 8, step = order > 3 ? (1u << order) / 8 : 1;

    if (n == 0)
        return true;
    for (uint64_t k = 0; k < 8; k++) /* at least one byte */
        if (qb_refcount_get(at, k, order) != value)
            return false;
    /* The bytes equal themselves shifted by one entry: then all entries equal the first. */
    return memcmp(at, at + step, bytes - step) == 0;
}

static void fill_be16(uint8_t *at, uint64_t n, uint64_t value)
{
    const be16 v = be16_of((uint16_t)value);

    for (uint64_t k = 0; k < n; k++)
        memcpy(at + 2 * k, &v, sizeof(v));
}

static void fill_be64(uint8_t *at, uint64_t n, uint64_t value)
{
    const be64 v = be64_of(value);

    for (uint64_t k = 0; k < n; k++)
        memcpy(at + 8 * k, &v, sizeof(v));
}

void qb_refcount_fill(uint8_t *block, uint64_t i, uint64_t n, unsigned order, uint64_t value)
{
    if (order == 3) {
        memset(block + i, (int)value, n);
    } else if (order == 4) {
        fill_be16(block + 2 * i, n, value);
    } else if (order == 6) {
        fill_be64(block + 8 * i, n, value);
    } else {
        for (uint64_t k = 0; k < n; k++)
            qb_refcount_put(block, i + k, order, value);
    }
}
