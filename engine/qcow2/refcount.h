/* Reads and writes refcounts of every width ("Refcount table"): entry i of a block whose width is 1
 * << order bits. */
#ifndef QB_QCOW2_REFCOUNT_H
#define QB_QCOW2_REFCOUNT_H

#include <stdbool.h>

#include "base/be.h"

static inline uint64_t qb_refcount_max(unsigned order)
{
    return order >= 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
}

/* Widths below a byte fill each byte from its least significant bit. */
static inline uint64_t qb_refcount_get(const uint8_t *block, uint64_t i, unsigned order)
{
    switch (order) {
    case 0:
        return block[i / 8] >> (i % 8) & 1;
    case 1:
        return block[i / 4] >> (i % 4 * 2) & 3;
    case 2:
        return block[i / 2] >> (i % 2 * 4) & 15;
    case 3:
        return block[i];
    case 4:
        return (uint64_t)block[i * 2] << 8 | block[i * 2 + 1];
    case 5:
        return be32_get(*(const be32 *)(const void *)(block + i * 4));
    default:
        return be64_get(*(const be64 *)(const void *)(block + i * 8));
    }
}

/* Sets an entry that is zero so far; `value` fits the width. */
static inline void qb_refcount_put(uint8_t *block, uint64_t i, unsigned order, uint64_t value)
{
    switch (order) {
    case 0:
        block[i / 8] |= (uint8_t)(value << (i % 8));
        break;
    case 1:
        block[i / 4] |= (uint8_t)(value << (i % 4 * 2));
        break;
    case 2:
        block[i / 2] |= (uint8_t)(value << (i % 2 * 4));
        break;
    case 3:
        block[i] = (uint8_t)value;
        break;
    case 4:
        *(be16 *)(void *)(block + i * 2) = be16_of((uint16_t)value);
        break;
    case 5:
        *(be32 *)(void *)(block + i * 4) = be32_of((uint32_t)value);
        break;
    default:
        *(be64 *)(void *)(block + i * 8) = be64_of(value);
    }
}

/* Whether the n entries from `i` on are all `value`; i and n are multiples of 8. */
bool qb_refcount_all(const uint8_t *block, uint64_t i, uint64_t n, unsigned order, uint64_t value);

/* Sets n entries that are zero so far, from any `i` on. */
void qb_refcount_fill(uint8_t *block, uint64_t i, uint64_t n, unsigned order, uint64_t value);

#endif
