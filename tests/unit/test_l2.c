/* L2 entries of every kind and cluster size. */
#include <string.h>

#include "qcow2/header.h"
#include "qcow2/l2.h"
#include "unit.h"

static struct qb_geom geom_of(unsigned cluster_bits, uint64_t incompatible)
{
    struct qb_header h = {
        .cluster_bits = cluster_bits, .refcount_order = 4, .incompatible = incompatible};
    struct qb_geom g;

    qb_header_geom(&h, &g);
    return g;
}

static void entry_has_the_kind_that_its_bits_say(void)
{
    static const struct {
        uint64_t entry;
        enum qb_kind kind;
    } rows[] = {
        {0, QB_UNALLOCATED},
        {QB_ENTRY_ZERO, QB_ZERO_PLAIN},
        {0x50000 | QB_ENTRY_ZERO, QB_ZERO_ALLOCATED},
        {0x50000 | QB_ENTRY_ZERO | QB_ENTRY_COPIED, QB_ZERO_ALLOCATED},
        {0x50000, QB_DATA},
        {0x50000 | QB_ENTRY_COPIED, QB_DATA},
        {QB_ENTRY_COMPRESSED | 0x50123, QB_COMPRESSED},
        {QB_ENTRY_COMPRESSED | 1, QB_COMPRESSED},
        {QB_ENTRY_COPIED, QB_UNALLOCATED}, /* no place, so nothing is there */
        {0x00fffffffffffe00, QB_DATA},
        {0x01ff, QB_ZERO_PLAIN},
    };
    struct qb_geom g = geom_of(16, 0);

    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        CU_ASSERT_EQUAL(qb_l2_kind(&g, rows[i].entry), rows[i].kind);
}

static void extended_entries_have_no_zero_bit(void)
{
    struct qb_geom g = geom_of(16, QB_INCOMPAT_EXTENDED_L2);

    CU_ASSERT_EQUAL(qb_l2_kind(&g, QB_ENTRY_ZERO), QB_UNALLOCATED);
    CU_ASSERT_EQUAL(qb_l2_kind(&g, 0x50000 | QB_ENTRY_ZERO), QB_DATA);
}

static void data_at_offset_0_of_a_data_file_is_told_by_copied(void)
{
    struct qb_geom g = geom_of(16, QB_INCOMPAT_DATA_FILE);

    CU_ASSERT_EQUAL(qb_l2_kind(&g, QB_ENTRY_COPIED), QB_DATA);
    CU_ASSERT_EQUAL(qb_l2_kind(&g, 0), QB_UNALLOCATED);
    CU_ASSERT_EQUAL(qb_l2_kind(&g, QB_ENTRY_COPIED | QB_ENTRY_ZERO), QB_ZERO_PLAIN);
}

static void compressed_entry_is_split_where_the_cluster_size_says(void)
{
    static const struct {
        unsigned bits, x; /* x: bits of the offset */
    } rows[] = {{9, 61}, {12, 58}, {16, 54}, {21, 49}};

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct qb_geom g = geom_of(rows[i].bits, 0);
        uint64_t most = (1ull << (rows[i].bits - 8)) - 1;
        struct qb_compressed z;

        z = qb_l2_compressed(&g, QB_ENTRY_COMPRESSED | most << rows[i].x | 0x123456);
        CU_ASSERT_EQUAL(z.offset, 0x123456);
        CU_ASSERT_EQUAL(z.available, (most + 1) * 512 - 0x56);
        z = qb_l2_compressed(&g, QB_ENTRY_COMPRESSED | 0x1200);
        CU_ASSERT_EQUAL(z.offset, 0x1200);
        CU_ASSERT_EQUAL(z.available, 512);
        z = qb_l2_compressed(&g, QB_ENTRY_COMPRESSED | 0x13ff);
        CU_ASSERT_EQUAL(z.available, 1);
    }
}

static void entries_are_read_and_written_big_endian(void)
{
    struct qb_geom g = geom_of(9, 0), x = geom_of(14, QB_INCOMPAT_EXTENDED_L2);
    static const uint8_t bytes[8] = {0x80, 0, 0, 0, 0, 5, 0, 1};
    uint8_t table[64] = {0};

    qb_l2_put(&g, table, 3, 0x8000000000050001);
    CU_ASSERT_EQUAL(memcmp(table + 24, bytes, 8), 0);
    CU_ASSERT_EQUAL(qb_l2_get(&g, table, 3, 0), 0x8000000000050001);
    CU_ASSERT_EQUAL(qb_l2_get(&g, table, 2, 0), 0);
    qb_l2_put(&x, table, 2, 77);
    CU_ASSERT_EQUAL(table[39], 77);
    CU_ASSERT_EQUAL(qb_l2_get(&x, table, 2, 0), 77);
    CU_ASSERT_EQUAL(qb_l2_get(&x, table, 1, 1), 0x8000000000050001);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(entry_has_the_kind_that_its_bits_say),
        UNIT(extended_entries_have_no_zero_bit),
        UNIT(data_at_offset_0_of_a_data_file_is_told_by_copied),
        UNIT(compressed_entry_is_split_where_the_cluster_size_says),
        UNIT(entries_are_read_and_written_big_endian),
    };

    return unit_main("l2", tests, UNIT_COUNT(tests));
}
