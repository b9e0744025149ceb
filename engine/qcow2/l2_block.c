#include "qcow2/l2_block.h"

#include "base/vectors.h"

static inline uint64_t entry_at(const uint8_t *block, unsigned k)
{
    be64 v;

    __builtin_memcpy(&v, block + 8 * k, 8);
    return be64_get(v);
}

/* The loop works on the words in their on-disk form. */
QB_VECTORS static int count_zeros(const uint8_t *block)
{
    const be64 flag_on_disk = be64_of(QB_ENTRY_ZERO);
    uint64_t flag, word, other = 0, zeros = 0;

    __builtin_memcpy(&flag, &flag_on_disk, 8);
    for (unsigned k = 0; k < QB_L2_BLOCK; k++) {
        __builtin_memcpy(&word, block + 8 * k, 8);
        other |= word & ~flag;
        zeros += word;
    }
    return other ? -1 : (int)(zeros >> __builtin_ctzll(flag));
}

QB_VECTORS static bool is_run(const uint8_t *block, uint64_t first, unsigned bits)
{
    const uint64_t step = UINT64_C(1) << bits;
    uint64_t wrong = 0;

    for (unsigned k = 0; k < QB_L2_BLOCK; k++) {
        wrong |= entry_at(block, k) ^ first;
        first += step;
    }
    return wrong == 0;
}

QB_VECTORS static void put_run(uint8_t *to, uint64_t n, uint64_t entry, uint64_t step)
{
    for (uint64_t k = 0; k < n; k++) {
        be64 v = be64_of(entry + k * step);

        __builtin_memcpy(to + 8 * k, &v, 8);
    }
}

void qb_l2_put_data(const struct qb_geom *g, uint8_t *table, uint64_t i, uint64_t n, uint64_t entry)
{
    if (g->l2_entry_size == 8)
        put_run(table + i * 8, n, entry, g->cluster_size);
    else
        for (uint64_t k = 0; k < n; k++)
            qb_l2_put_as(g, table, i + k, entry + k * g->cluster_size, QB_ALL_ALLOCATED);
}

int qb_l2_block_zeros(const uint8_t *block)
{
    return count_zeros(block);
}

bool qb_l2_block_is_run(const uint8_t *block, uint64_t first, unsigned bits)
{
    return is_run(block, first, bits);
}
