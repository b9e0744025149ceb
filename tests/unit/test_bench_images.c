/* The images that the bench makes: where each part lies, and what is refused. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "scene/image.h"
#include "qcow2/disk.h"
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
    struct bench_shape bad[15];
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
    for (size_t i = 6; i < 11; i++)
        bad[i].bitmaps = 2, bad[i].granularity = 4096;
    bad[6].granularity = 256;
    bad[7].granularity = 3 << 12;
    bad[8].bitmaps = 65536;
    bad[9].size = bad[9].used = 0;
    bad[10].size = 1ull << 45;
    for (size_t i = 11; i < N(bad); i++)
        bad[i].every = 0, bad[i].stretch = 4;
    bad[11].every = 2;
    bad[12].data_between = false;
    bad[13].data_file = true;
    bad[14].stretch = 1 << 14; /* all of the disk: none is data */
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

/* The first stretch is free and the last one data, so that there is nothing to cut off. */
static void free_stretches_have_a_place_and_no_entry(void)
{
    struct bench_shape shape = {.size = 1 << 20,
                                .used = 16 * 4096,
                                .cluster_size = 4096,
                                .data_between = true,
                                .stretch = 4,
                                .refcount_bits = 16};
    char path[] = "/tmp/qbatch-test-bench.XXXXXX";
    struct bench_layout l;
    be64 entries[17];
    be16 counts[17];
    int fd = mkstemp(path);

    CU_ASSERT_FATAL(fd >= 0 && close(fd) == 0 && unlink(path) == 0);
    CU_ASSERT_FATAL(bench_layout_make(&shape, &l, NULL) == 0);
    CU_ASSERT(l.data == 8 && l.freed == 8 && l.end == l.first_data + 16);
    CU_ASSERT(bench_layout_disk(&l) > 16 * 4096);
    CU_ASSERT_FATAL(bench_image_write(&l, path, NULL) == 0);
    fd = open(path, O_RDONLY);
    CU_ASSERT_EQUAL(pread(fd, entries, sizeof(entries), (off_t)l.first_table * 4096),
                    sizeof(entries));
    CU_ASSERT_EQUAL(pread(fd, counts, sizeof(counts),
                          (off_t)(l.first_block * 4096 + l.first_data * sizeof(*counts))),
                    sizeof(counts));
    for (uint64_t i = 0; i < 17; i++) {
        bool data = i < 16 && i / 4 % 2;
        uint8_t byte = 0;

        CU_ASSERT_EQUAL(be16_get(counts[i]), data);
        CU_ASSERT_EQUAL(be64_get(entries[i]),
                        data ? (l.first_data + i) * 4096 | QB_ENTRY_COPIED : 0);
        CU_ASSERT_EQUAL(pread(fd, &byte, 1, (off_t)(l.first_data + i) * 4096 + 4095), i < 16);
        CU_ASSERT_EQUAL(byte, i < 16 ? 0xee : 0);
    }
    close(fd);
    unlink(path);
    shape.holes = true;
    CU_ASSERT_FATAL(bench_layout_make(&shape, &l, NULL) == 0);
    CU_ASSERT(l.freed == 8 && bench_layout_disk(&l) < 16 * 4096);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(refcounts_count_themselves),
        UNIT(scattered_tables_each_have_a_place),
        UNIT(impossible_images_are_refused),
        UNIT(bitmaps_lie_between_the_snapshots_and_the_tables),
        UNIT(no_bit_past_the_end_of_the_disk_is_set),
        UNIT(free_stretches_have_a_place_and_no_entry),
    };

    return unit_main("bench_images", tests, UNIT_COUNT(tests));
}
