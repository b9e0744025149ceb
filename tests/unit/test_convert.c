/* A raw disk that becomes an image reads the same, whatever its length, and what looks like an
 * image of any format is left alone. */
#include <string.h>

#include "raw_disks.h"
#include "unit.h"

#define KIB 1024u

static void expect_converted(uint64_t size, const struct qb_request *rq, uint64_t expected)
{
    struct image_bytes raw = raw_disk(size), now;
    struct qb_mem_log *log = run_machine(&raw);
    struct run r = run_amend(log, 0, rq, RUN_WHOLE);
    char at[80];

    snprintf(at, sizeof(at), "%llu bytes", (unsigned long long)size);
    if (r.rc < 0)
        fprintf(stderr, "\n%s: %s", at, r.result.err.text);
    CU_ASSERT_EQUAL_FATAL(r.rc, 0);
    CU_ASSERT_EQUAL(r.result.status, QB_STATUS_CHANGED);
    CU_ASSERT_TRUE(r.result.converted);
    CU_ASSERT_STRING_EQUAL(r.result.before->format, "raw");
    CU_ASSERT_EQUAL(r.result.before->virtual_size, raw_sectors(size));
    CU_ASSERT_STRING_EQUAL(r.result.after->format, "qcow2");
    CU_ASSERT_EQUAL(r.result.after->virtual_size, expected);
    now = run_content(log, 0);
    CU_ASSERT_EQUAL(now.size % RAW_SECTOR, 0);
    raw_expect(&now, &raw, expected, at);
    run_free(&r);
    qb_mem_log_free(log);
    image_bytes_free(&raw);
}

static void a_disk_of_any_length_reads_the_same(void)
{
    static const uint64_t sizes[] = {1,    511,  512,  513,   4095,  4096,
                                     4097, 8192, 8193, 65535, 65536, 300 * KIB + 7};

    for (size_t i = 0; i < UNIT_COUNT(sizes); i++)
        expect_converted(sizes[i], &raw_small, raw_sectors(sizes[i]));
}

static void what_an_image_has_goes_into_the_same_commit(void)
{
    static const struct qb_bitmap_add bitmap = {"day", 4096, false};
    static const struct qb_request rqs[] = {
        {.set = QB_KEY_CONVERT, RAW_CONVERT},
        {.set = QB_KEY_CONVERT, .keep_undo = true, RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_COMPAT, .compat = 2, RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_COMPAT | QB_KEY_CLUSTER_SIZE,
         .compat = 2,
         .cluster_size = 512,
         RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_REFCOUNT_BITS | QB_KEY_CLUSTER_SIZE,
         .refcount_bits = 1,
         .cluster_size = 512,
         RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_REFCOUNT_BITS | QB_KEY_LAZY_REFCOUNTS | QB_KEY_CLUSTER_SIZE,
         .refcount_bits = 64,
         .lazy_refcounts = true,
         .cluster_size = 512,
         RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_CLUSTER_SIZE, .cluster_size = 2048 * KIB, RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_EXTENDED_L2 | QB_KEY_CLUSTER_SIZE,
         .extended_l2 = true,
         .cluster_size = 16384,
         RAW_CONVERT},
        {.set = QB_KEY_CONVERT | QB_KEY_BITMAPS, .bitmaps_add = {&bitmap, 1}, RAW_CONVERT},
        {.set = QB_KEY_CONVERT,
         .convert_from = "raw",
         .convert_to = "qcow2",
         .verify = QB_VERIFY_CONTENT},
    };

    for (size_t i = 0; i < UNIT_COUNT(rqs); i++) {
        expect_converted(200 * KIB + 77, &rqs[i], raw_sectors(200 * KIB + 77));
        expect_converted(3, &rqs[i], RAW_SECTOR);
    }
}

static void a_larger_size_goes_into_the_same_commit(void)
{
    struct qb_request rq = raw_small;

    rq.set |= QB_KEY_SIZE;
    rq.size = 64u << 20;
    expect_converted(100 * KIB + 1, &rq, 64u << 20);
    rq.size_is = QB_SIZE_AT_LEAST;
    rq.size = RAW_SECTOR;
    expect_converted(100 * KIB + 1, &rq, raw_sectors(100 * KIB + 1));
    rq.size_is = QB_SIZE_ADDED;
    rq.size = 1u << 20;
    expect_converted(100 * KIB + 1, &rq, raw_sectors(100 * KIB + 1) + (1u << 20));
}

#define BYTES(text) text, sizeof(text) - 1

static void what_looks_like_an_image_is_refused_by_name(void)
{
    static const struct {
        const char *format;
        uint64_t at; /* from the end of the disk where it is 1 */
        const char *bytes;
        size_t n;
    } rows[] = {
        {"qcow2", 0, BYTES("QFI\xfb\0\0\0\3")},
        {"qcow2", 0, BYTES("QFI\xfb\0\0\0\x63")},
        {"qcow", 0, BYTES("QFI\xfb\0\0\0\1")},
        {"qed", 0, BYTES("QED\0")},
        {"vmdk", 0, BYTES("KDMV")},
        {"vmdk", 0, BYTES("COWD")},
        {"vmdk", 0, BYTES("# Disk DescriptorFile")},
        {"vmdk", 0, BYTES("# anything\n \n  \r\nversion=2\r\n")},
        {"vmdk", 0, BYTES("version=1\n")},
        {"vhdx", 0, BYTES("vhdxfile")},
        {"vpc", 0, BYTES("conectix")},
        {"vpc", 1, BYTES("conectix")},
        {"vdi", 64, BYTES("\x7f\x10\xda\xbe")},
        {"luks", 0, BYTES("LUKS\xba\xbe")},
        {"parallels", 0, BYTES("WithoutFreeSpace")},
        {"parallels", 0, BYTES("WithouFreSpacExt")},
        {"bochs", 0, BYTES("Bochs Virtual HD Image")},
        {"cloop", 0, BYTES("#!/bin/sh\n#V2.0 Format\nmodprobe cloop")},
        {"dmg", 0, BYTES("koly")},
        {"dmg", 1, BYTES("koly")},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct image_bytes raw = raw_disk(9000);
        char text[60];

        memcpy(raw.bytes + (rows[i].at == 1 ? raw.size - RAW_SECTOR : rows[i].at), rows[i].bytes,
               rows[i].n);
        snprintf(text, sizeof(text), "%s like an image of format %s",
                 rows[i].at == 1 ? "ends" : "begins", rows[i].format);
        raw_expect_refusal(&raw, &raw_small, QB_E_REFUSED, text);
        image_bytes_free(&raw);
    }
}

static void what_no_conversion_can_be_is_refused(void)
{
    struct image_bytes raw = raw_disk(9000), empty = raw_disk(0);
    struct qb_request rq = raw_small;

    raw_expect_refusal(&empty, &raw_small, QB_E_REFUSED, "the file is empty");
    rq.convert_to = NULL;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "both from: raw and to: qcow2");
    rq = raw_small;
    rq.convert_from = "vmdk";
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "both from: raw and to: qcow2");
    rq = raw_small;
    rq.cluster_size = 3000;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "cluster_size=3000");
    rq.cluster_size = 4096u << 10;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "cluster_size=4194304");
    rq = raw_small;
    rq.set |= QB_KEY_SIZE;
    rq.allow_shrink = true;
    rq.size = 8192;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "smaller than the raw disk");
    rq.size = 20001;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "not a multiple of 512");
    rq.size = 1ull << 62;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "too large for clusters");
    rq = raw_small;
    rq.set |= QB_KEY_EXTENDED_L2;
    rq.extended_l2 = true;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "16384 bytes");
    rq.cluster_size = 65536;
    rq.set |= QB_KEY_COMPAT;
    rq.compat = 2;
    raw_expect_refusal(&raw, &rq, QB_E_REFUSED, "needs compat=1.1");
    rq = raw_small;
    rq.set |= QB_KEY_BACKING_FILE;
    rq.backing_file = "base.raw";
    raw_expect_refusal(&raw, &rq, QB_E_UNSUPPORTED, "no backing file");
    rq = raw_small;
    rq.set |= QB_KEY_DATA_FILE;
    rq.data_file = "data.raw";
    raw_expect_refusal(&raw, &rq, QB_E_UNSUPPORTED, "external data file");
    rq = raw_small;
    rq.set |= QB_KEY_PREALLOCATION;
    rq.preallocation = "full";
    raw_expect_refusal(&raw, &rq, QB_E_UNSUPPORTED, "preallocation=full");
    rq = raw_small;
    rq.set |= QB_KEY_RECLAIM;
    rq.reclaim_free = true;
    raw_expect_refusal(&raw, &rq, QB_E_UNSUPPORTED, "reclaim");
    image_bytes_free(&raw);
    image_bytes_free(&empty);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_disk_of_any_length_reads_the_same),
        UNIT(what_an_image_has_goes_into_the_same_commit),
        UNIT(a_larger_size_goes_into_the_same_commit),
        UNIT(what_looks_like_an_image_is_refused_by_name),
        UNIT(what_no_conversion_can_be_is_refused),
    };

    return unit_main("convert", tests, UNIT_COUNT(tests));
}
