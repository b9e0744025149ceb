/* Refcounts of every width. */
#include <stdlib.h>
#include <string.h>

#include "qcow2/refcount.h"
#include "unit.h"

static void largest_count_follows_from_the_width(void)
{
    static const uint64_t max[] = {1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX};

    for (unsigned order = 0; order <= 6; order++)
        CU_ASSERT_EQUAL(qb_refcount_max(order), max[order]);
}

static void counts_stand_where_the_specification_says(void)
{
    static const struct {
        unsigned order;
        uint64_t i, value;
        unsigned first; /* the byte where it shows, and the bytes from there */
        uint8_t bytes[8];
        unsigned n;
    } rows[] = {
        {0, 0, 1, 0, {0x01}, 1},
        {0, 7, 1, 0, {0x80}, 1},
        {0, 9, 1, 1, {0x02}, 1},
        {1, 0, 2, 0, {0x02}, 1},
        {1, 3, 3, 0, {0xc0}, 1},
        {1, 5, 1, 1, {0x04}, 1},
        {2, 0, 0xa, 0, {0x0a}, 1},
        {2, 1, 0xa, 0, {0xa0}, 1},
        {3, 5, 0xfe, 5, {0xfe}, 1},
        {4, 3, 0x1234, 6, {0x12, 0x34}, 2},
        {5, 1, 0x12345678, 4, {0x12, 0x34, 0x56, 0x78}, 4},
        {6, 2, 0x123456789abcdef0, 16, {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0}, 8},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint8_t block[64] = {0}, expected[64] = {0};

        memcpy(expected + rows[i].first, rows[i].bytes, rows[i].n);
        qb_refcount_put(block, rows[i].i, rows[i].order, rows[i].value);
        CU_ASSERT_EQUAL(memcmp(block, expected, sizeof(block)), 0);
        CU_ASSERT_EQUAL(qb_refcount_get(block, rows[i].i, rows[i].order), rows[i].value);
    }
}

/* Every entry of a block, each with a value of its own: no count touches its neighbours. */
static void counts_of_every_width_come_back(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        uint64_t n = 512 * 8 >> order;
        uint8_t *block = calloc(1, 512); /* exactly as long, for the sanitizer */

        CU_ASSERT_PTR_NOT_NULL_FATAL(block);
        for (uint64_t i = 0; i < n; i++)
            qb_refcount_put(block, i, order, (i * 0x9e3779b97f4a7c15) & qb_refcount_max(order));
        for (uint64_t i = 0; i < n; i++)
            CU_ASSERT_EQUAL(qb_refcount_get(block, i, order),
                            (i * 0x9e3779b97f4a7c15) & qb_refcount_max(order));
        free(block);
    }
}

static void largest_counts_come_back(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        uint8_t block[512] = {0};

        for (uint64_t i = 1; i < 512 * 8u >> order; i += 2)
            qb_refcount_put(block, i, order, qb_refcount_max(order));
        for (uint64_t i = 0; i < 512 * 8u >> order; i++)
            CU_ASSERT_EQUAL(qb_refcount_get(block, i, order), i % 2 ? qb_refcount_max(order) : 0);
    }
}

/* A run is set and told apart from one with a single entry that differs, at its every place. */
static void runs_are_set_and_recognised(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        uint64_t n = 512 * 8 >> order, value = qb_refcount_max(order) & 0x0102030405060701;

        for (uint64_t odd = 8; odd < n; odd += 1 + n / 16) {
            uint8_t block[512] = {0};

            qb_refcount_fill(block, 8, n - 8, order, value);
            CU_ASSERT_TRUE(qb_refcount_all(block, 8, n - 8, order, value));
            CU_ASSERT_TRUE(qb_refcount_all(block, 0, 8, order, 0));
            CU_ASSERT_FALSE(qb_refcount_all(block, 0, n, order, value));
            block[(odd << order) / 8] ^= (uint8_t)(1u << (odd << order) % 8);
            CU_ASSERT_FALSE(qb_refcount_all(block, 8, n - 8, order, value));
        }
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(largest_count_follows_from_the_width), UNIT(counts_stand_where_the_specification_says),
        UNIT(counts_of_every_width_come_back),      UNIT(largest_counts_come_back),
        UNIT(runs_are_set_and_recognised),
    };

    return unit_main("refcount", tests, UNIT_COUNT(tests));
}
