/* The images that the bench makes: where each part lies, and what is refused. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "scene/image.h"
#include "unit.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static void refcounts_count_themselves(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        for (uint64_t clusters = 0; clusters < 3000; clusters += 7) {
            uint64_t blocks, table, entries = 512 * 8 >> order;

            bench_refcounts_for(512, order, clusters, &blocks, &table);
            CU_ASSERT(blocks * entries >= clusters + blocks + table);
            CU_ASSERT(blocks == 0 || (blocks - 1) * entries < clusters + blocks + table);
            CU_ASSERT(table * 64 >= blocks && table >= 1);
        }
    }
}

static void scattered_tables_each_have_a_place(void)
{
    struct bench_shape shape = {.size = 100ull << 29,
                                .used = UINT64_MAX,
                                .cluster_size = 65536,
                                .every = 1,
                                .scatter = 3,
                                .refcount_bits = 16};
    struct bench_layout l;
    bool taken[100] = {false};

    CU_ASSERT_FATAL(bench_layout_make(&shape, &l, NULL) == 0);
    CU_ASSERT_EQUAL_FATAL(l.tables, 100);
    for (uint64_t i = 0; i < l.tables; i++) {
        uint64_t at = bench_layout_table(&l, i) - l.first_table;

        CU_ASSERT_FATAL(at % 3 == 0 && at / 3 < 100 && !taken[at / 3]);
        taken[at / 3] = true;
    }
}

static void impossible_images_are_refused(void)
{
    static const struct bench_shape good = {.size = 1 << 30,
                                            .used = 1 << 30,
                                            .cluster_size = 65536,
                                            .every = 2,
                                            .data_between = true,
                                            .refcount_bits = 16};
    struct bench_shape bad[11];
    struct bench_layout l;

    CU_ASSERT(bench_layout_make(&good, &l, NULL) == 0);
    for (size_t i = 0; i < N(bad); i++)
        bad[i] = good;
    bad[0].cluster_size = 65537;
    bad[1].cluster_size = 256;
    bad[2].refcount_bits = 12;
    bad[3].snapshots = 65535;
    bad[4].size = (1 << 30) + 1;
    bad[5].cluster_size = 512, bad[5].size = 1ull << 50;
    for (size_t i = 6; i < N(bad); i++)
        bad[i].bitmaps = 2, bad[i].granularity = 4096;
    bad[6].granularity = 256;
    bad[7].granularity = 3 << 12;
    bad[8].bitmaps = 65536;
    bad[9].size = bad[9].used = 0;
    bad[10].size = 1ull << 45;
    for (size_t i = 0; i < N(bad); i++) {
        struct qb_err err = {0};

        CU_ASSERT(bench_layout_make(&bad[i], &l, &err) < 0 && err.code == QB_E_REFUSED);
    }
}

static void bitmaps_lie_between_the_snapshots_and_the_tables(void)
{
    struct bench_shape shape = {.size = 5ull << 30,
                                .used = UINT64_MAX,
                                .cluster_size = 4096,
                                .snapshots = 2,
                                .bitmaps = 200,
                                .granularity = 65536,
                                .refcount_bits = 16};
    struct bench_layout l;

    CU_ASSERT_FATAL(bench_layout_make(&shape, &l, NULL) == 0);
    CU_ASSERT_EQUAL(l.bitmap_bytes, 10240);
    CU_ASSERT_EQUAL(l.bitmap_data, 3);
    CU_ASSERT_EQUAL(l.bitmap_tables, 1);
    CU_ASSERT_EQUAL(l.directory, l.snapshot_table + 1);
    CU_ASSERT_EQUAL(l.first_bitmap, l.directory + 2);
    CU_ASSERT_EQUAL(l.first_table, l.first_bitmap + 200 * 4);
}

/* QEMU ignores these bits, and writes none. */
static void no_bit_past_the_end_of_the_disk_is_set(void)
{
    struct bench_shape shape = {.size = 27 * 512,
                                .cluster_size = 512,
                                .bitmaps = 1,
                                .granularity = 512,
                                .refcount_bits = 16};
    char path[] = "/tmp/qbatch-test-bench.XXXXXX";
    uint8_t bits[512] = {0};
    struct bench_layout l;
    int fd = mkstemp(path);

    CU_ASSERT_FATAL(fd >= 0 && unlink(path) == 0);
    CU_ASSERT_FATAL(bench_layout_make(&shape, &l, NULL) == 0);
    CU_ASSERT_FATAL(bench_image_write(&l, path, NULL) == 0);
    close(fd);
    fd = open(path, O_RDONLY);
    CU_ASSERT_EQUAL(pread(fd, bits, 512, (off_t)(l.first_bitmap + 1) * 512), 512);
    CU_ASSERT(bits[0] == 0x55 && bits[2] == 0x55 && bits[3] == 0x05 && bits[4] == 0);
    close(fd);
    unlink(path);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(refcounts_count_themselves),
        UNIT(scattered_tables_each_have_a_place),
        UNIT(impossible_images_are_refused),
        UNIT(bitmaps_lie_between_the_snapshots_and_the_tables),
        UNIT(no_bit_past_the_end_of_the_disk_is_set),
    };

    return unit_main("bench_images", tests, UNIT_COUNT(tests));
}
