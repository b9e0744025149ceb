#include "poke.h"

#define OFFSET 0x00fffffffffffe00ull /* of an L1 or L2 entry */

static uint64_t get64(const uint8_t *at)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < 8; i++)
        n = n << 8 | at[i];
    return n;
}

uint64_t poke_place(const uint8_t *bytes, enum place in)
{
    uint64_t l1 = get64(bytes + 40);

    switch (in) {
    case IN_L1:
        return l1;
    case IN_TABLE:
        return get64(bytes + l1) & OFFSET;
    case IN_DATA:
        return get64(bytes + (get64(bytes + l1) & OFFSET)) & OFFSET;
    case IN_SNAPSHOTS:
        return get64(bytes + 64);
    case IN_REFTABLE:
        return get64(bytes + 48);
    case IN_BLOCK:
        return get64(bytes + get64(bytes + 48));
    case IN_SNAPSHOT_L1:
        return get64(bytes + get64(bytes + 64));
    case IN_SNAPSHOT_TABLE:
        return get64(bytes + get64(bytes + get64(bytes + 64))) & OFFSET;
    default:
        return 0;
    }
}

void poke_be(uint8_t *at, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        at[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
}

void poke_image(uint8_t *bytes, const struct poke *p)
{
    poke_be(bytes + poke_place(bytes, (enum place)p->in) + p->at, p->value, p->len);
}
