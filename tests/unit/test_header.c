/* The header's decoder and encoder, its extensions, and the refusal of unknown features. */
#include <string.h>

#include "qcow2/ext.h"
#include "qcow2/header.h"
#include "poke.h"
#include "unit.h"

#define AT(field) offsetof(struct qb_disk_header, field)

/* A header of 64 KiB clusters with a backing name and two snapshots. */
static void valid(uint8_t *h, unsigned version)
{
    memset(h, 0, 512);
    poke_be(h, QB_MAGIC, 4);
    poke_be(h + 4, version, 4);
    poke_be(h + AT(backing_file_offset), 300, 8);
    poke_be(h + AT(backing_file_size), 9, 4);
    poke_be(h + AT(cluster_bits), 16, 4);
    poke_be(h + AT(size), 5ull << 30, 8);
    poke_be(h + AT(l1_size), 10, 4);
    poke_be(h + AT(l1_table_offset), 0x30000, 8);
    poke_be(h + AT(refcount_table_offset), 0x10000, 8);
    poke_be(h + AT(refcount_table_clusters), 1, 4);
    poke_be(h + AT(nb_snapshots), 2, 4);
    poke_be(h + AT(snapshots_offset), 0x50000, 8);
    if (version == 2)
        return;
    poke_be(h + AT(compatible), 1, 8);
    poke_be(h + AT(autoclear), 1, 8);
    poke_be(h + AT(refcount_order), 5, 4);
    poke_be(h + AT(header_length), 112, 4);
}

static void header_of_version_3_is_decoded(void)
{
    struct qb_header h;
    uint8_t bytes[512];

    valid(bytes, 3);
    CU_ASSERT_EQUAL_FATAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    CU_ASSERT_EQUAL(h.version, 3);
    CU_ASSERT_EQUAL(h.backing_offset, 300);
    CU_ASSERT_EQUAL(h.backing_len, 9);
    CU_ASSERT_EQUAL(h.cluster_bits, 16);
    CU_ASSERT_EQUAL(h.size, 5ull << 30);
    CU_ASSERT_EQUAL(h.crypt_method, 0);
    CU_ASSERT_EQUAL(h.l1_size, 10);
    CU_ASSERT_EQUAL(h.l1_offset, 0x30000);
    CU_ASSERT_EQUAL(h.reftable_offset, 0x10000);
    CU_ASSERT_EQUAL(h.reftable_clusters, 1);
    CU_ASSERT_EQUAL(h.nb_snapshots, 2);
    CU_ASSERT_EQUAL(h.snapshots_offset, 0x50000);
    CU_ASSERT_EQUAL(h.incompatible, 0);
    CU_ASSERT_EQUAL(h.compatible, 1);
    CU_ASSERT_EQUAL(h.autoclear, 1);
    CU_ASSERT_EQUAL(h.refcount_order, 5);
    CU_ASSERT_EQUAL(h.header_length, 112);
}

static void header_of_version_2_has_its_fixed_values(void)
{
    struct qb_header h;
    uint8_t bytes[512];

    valid(bytes, 2);
    poke_be(bytes + AT(incompatible), UINT64_MAX, 8); /* not a field of version 2 */
    poke_be(bytes + AT(refcount_order), 77, 4);
    CU_ASSERT_EQUAL_FATAL(qb_header_decode(bytes, 72, &h, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    CU_ASSERT_EQUAL(h.refcount_order, 4);
    CU_ASSERT_EQUAL(h.header_length, 72);
    CU_ASSERT_EQUAL(h.incompatible | h.compatible | h.autoclear, 0);
    CU_ASSERT_EQUAL(h.compression_type, 0);
}

static void header_complains_about_each_spoiled_field(void)
{
    static const struct {
        uint64_t at;
        unsigned bytes;
        uint64_t value;
        enum qb_code code;
        uint64_t told; /* err.offset */
    } rows[] = {
        {0, 4, 0x514649fc, QB_E_NOT_QCOW2, 0},
        {4, 4, 0, QB_E_UNSUPPORTED, 4},
        {4, 4, 1, QB_E_UNSUPPORTED, 4},
        {4, 4, 4, QB_E_UNSUPPORTED, 4},
        {4, 4, 0x03000000, QB_E_UNSUPPORTED, 4},
        {AT(backing_file_offset), 8, 65536 - 8, QB_E_CORRUPT, AT(backing_file_offset)},
        {AT(backing_file_offset), 8, UINT64_MAX - 4, QB_E_CORRUPT, AT(backing_file_offset)},
        {AT(backing_file_offset), 8, 111, QB_E_CORRUPT, AT(backing_file_offset)},
        {AT(backing_file_offset), 8, 1, QB_E_CORRUPT, AT(backing_file_offset)},
        {AT(backing_file_size), 4, 1024, QB_E_CORRUPT, AT(backing_file_offset)},
        {AT(backing_file_size), 4, UINT32_MAX, QB_E_CORRUPT, AT(backing_file_offset)},
        {AT(cluster_bits), 4, 8, QB_E_UNSUPPORTED, AT(cluster_bits)},
        {AT(cluster_bits), 4, 22, QB_E_UNSUPPORTED, AT(cluster_bits)},
        {AT(cluster_bits), 4, UINT32_MAX, QB_E_UNSUPPORTED, AT(cluster_bits)},
        {AT(size), 8, (5ull << 30) + 1, QB_E_CORRUPT, AT(l1_size)},
        {AT(size), 8, 1ull << 63, QB_E_CORRUPT, AT(size)},
        {AT(size), 8, UINT64_MAX, QB_E_CORRUPT, AT(size)},
        {AT(crypt_method), 4, 3, QB_E_UNSUPPORTED, AT(crypt_method)},
        {AT(l1_size), 4, 9, QB_E_CORRUPT, AT(l1_size)},
        {AT(l1_size), 4, 0, QB_E_CORRUPT, AT(l1_size)},
        {AT(l1_size), 4, (4u << 20) + 1, QB_E_UNSUPPORTED, AT(l1_size)},
        {AT(l1_table_offset), 8, 0, QB_E_CORRUPT, AT(l1_table_offset)},
        {AT(l1_table_offset), 8, 0x30200, QB_E_CORRUPT, AT(l1_table_offset)},
        {AT(refcount_table_offset), 8, 0, QB_E_CORRUPT, AT(refcount_table_offset)},
        {AT(refcount_table_offset), 8, 0x10001, QB_E_CORRUPT, AT(refcount_table_offset)},
        {AT(refcount_table_clusters), 4, 0, QB_E_CORRUPT, AT(refcount_table_clusters)},
        {AT(refcount_table_clusters), 4, 129, QB_E_CORRUPT, AT(refcount_table_clusters)},
        {AT(nb_snapshots), 4, 65537, QB_E_UNSUPPORTED, AT(nb_snapshots)},
        {AT(snapshots_offset), 8, 0, QB_E_CORRUPT, AT(snapshots_offset)},
        {AT(snapshots_offset), 8, 0x50008, QB_E_CORRUPT, AT(snapshots_offset)},
        {AT(incompatible), 8, QB_INCOMPAT_COMPRESSION, QB_E_CORRUPT, AT(compression_type)},
        {AT(refcount_order), 4, 7, QB_E_UNSUPPORTED, AT(refcount_order)},
        {AT(header_length), 4, 103, QB_E_CORRUPT, AT(header_length)},
        {AT(header_length), 4, 0, QB_E_CORRUPT, AT(header_length)},
        {AT(header_length), 4, 65537, QB_E_CORRUPT, AT(header_length)},
        {AT(compression_type), 1, 1, QB_E_CORRUPT, AT(compression_type)},
        {AT(compression_type), 1, 2, QB_E_CORRUPT, AT(compression_type)},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct qb_header h, before;
        struct qb_err err = {.code = QB_E_NONE};
        uint8_t bytes[512];

        valid(bytes, 3);
        poke_be(bytes + rows[i].at, rows[i].value, rows[i].bytes);
        memset(&h, 0x77, sizeof(h));
        before = h;
        CU_ASSERT_EQUAL(qb_header_decode(bytes, sizeof(bytes), &h, &err), -1);
        CU_ASSERT_EQUAL(err.code, rows[i].code);
        CU_ASSERT_EQUAL(err.offset, rows[i].told);
        CU_ASSERT(err.text[0] != 0);
        if (err.code != rows[i].code || err.offset != rows[i].told)
            fprintf(stderr, "row %zu: %s\n", i, err.text);
        CU_ASSERT_EQUAL(memcmp(&h, &before, sizeof(h)), 0); /* the output is untouched */
    }
}

static void header_that_ends_too_early_is_refused(void)
{
    struct qb_header h;
    uint8_t bytes[512];

    valid(bytes, 3);
    for (size_t len = 0; len < 104; len++)
        CU_ASSERT_EQUAL(qb_header_decode(bytes, len, &h, NULL), -1);
    CU_ASSERT_EQUAL(qb_header_decode(bytes, 104, &h, NULL), 0);
    valid(bytes, 2);
    for (size_t len = 0; len < 72; len++)
        CU_ASSERT_EQUAL(qb_header_decode(bytes, len, &h, NULL), -1);
}

static void header_allows_what_is_merely_unusual(void)
{
    struct qb_header h;
    uint8_t bytes[512];

    valid(bytes, 3);
    poke_be(bytes + AT(size), 0, 8); /* a disk of size 0 without an L1 table */
    poke_be(bytes + AT(l1_size), 0, 4);
    poke_be(bytes + AT(l1_table_offset), 0, 8);
    CU_ASSERT_EQUAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    valid(bytes, 3);
    poke_be(bytes + AT(size), 12345, 8); /* no multiple of 512 */
    CU_ASSERT_EQUAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    CU_ASSERT_EQUAL(h.size, 12345);
    valid(bytes, 3);
    poke_be(bytes + AT(nb_snapshots), 0, 4);
    poke_be(bytes + AT(snapshots_offset), 77, 8); /* nobody looks there */
    CU_ASSERT_EQUAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    valid(bytes, 3);
    poke_be(bytes + AT(header_length), 104, 4);
    poke_be(bytes + AT(compression_type), 9, 1); /* not a field of this header */
    CU_ASSERT_EQUAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    CU_ASSERT_EQUAL(h.compression_type, 0);
}

static void header_comes_back_as_it_was_encoded(void)
{
    for (unsigned version = 2; version <= 3; version++) {
        uint8_t bytes[512], again[512];
        struct qb_header h;

        valid(bytes, version);
        poke_be(bytes + AT(crypt_method), 1, 4);
        if (version == 3) {
            poke_be(bytes + AT(incompatible), QB_INCOMPAT_DIRTY | QB_INCOMPAT_COMPRESSION, 8);
            bytes[QB_HEADER_COMPRESSION_TYPE_AT] = 1;
        }
        memset(bytes + 120, 0xa5, 100);
        memcpy(again, bytes, sizeof(again));
        CU_ASSERT_EQUAL_FATAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
        memset(again, 0, version == 2 ? 72 : 105);
        qb_header_encode(&h, again);
        CU_ASSERT_EQUAL(memcmp(bytes, again, sizeof(again)), 0);
    }
}

static void short_header_keeps_what_stands_behind_it(void)
{
    uint8_t bytes[512];
    struct qb_header h;

    valid(bytes, 3);
    poke_be(bytes + AT(header_length), 104, 4);
    memset(bytes + 104, 0x3c, 8); /* already an extension */
    CU_ASSERT_EQUAL_FATAL(qb_header_decode(bytes, sizeof(bytes), &h, NULL), 0);
    qb_header_encode(&h, bytes);
    for (unsigned i = 104; i < 112; i++)
        CU_ASSERT_EQUAL(bytes[i], 0x3c);
}

static void geometry_follows_from_the_header(void)
{
    struct qb_header h = {.cluster_bits = 16, .refcount_order = 4};
    struct qb_geom g;

    qb_header_geom(&h, &g);
    CU_ASSERT_EQUAL(g.cluster_size, 65536);
    CU_ASSERT_EQUAL(g.l2_entries, 8192);
    CU_ASSERT_EQUAL(g.l1_span, 512ull << 20);
    CU_ASSERT_EQUAL(g.block_entries, 32768);
    CU_ASSERT_EQUAL(qb_geom_l1_needed(&g, 0), 0);
    CU_ASSERT_EQUAL(qb_geom_l1_needed(&g, 1), 1);
    CU_ASSERT_EQUAL(qb_geom_l1_needed(&g, (512ull << 20) + 1), 2);
    h.incompatible = QB_INCOMPAT_EXTENDED_L2;
    qb_header_geom(&h, &g);
    CU_ASSERT_EQUAL(g.l2_entry_size, 16);
    CU_ASSERT_EQUAL(g.l2_entries, 4096);
    CU_ASSERT_EQUAL(g.l1_span, 256ull << 20);
}

static void unknown_features_are_refused_by_their_names(void)
{
    struct qb_disk_feature_name names[2] = {{.type = 0, .bit = 40, .name = "time travel"},
                                            {.type = 1, .bit = 41, .name = "of another kind"}};
    struct qb_header h = {.incompatible = QB_INCOMPAT_KNOWN};
    struct qb_err err;

    CU_ASSERT_EQUAL(qb_header_check_features(&h, names, sizeof(names), &err), 0);
    h.incompatible = 1ull << 40 | 1ull << 41;
    CU_ASSERT_EQUAL(qb_header_check_features(&h, names, sizeof(names), &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "time travel, bit 41"));
    h.incompatible = UINT64_MAX; /* more than the text holds */
    CU_ASSERT_EQUAL(qb_header_check_features(&h, NULL, 0, &err), -1);
    memset(names[0].name, 'x', sizeof(names[0].name)); /* a name without an end */
    h.incompatible = 1ull << 40;
    CU_ASSERT_EQUAL(qb_header_check_features(&h, names, sizeof(names), &err), -1);
    CU_ASSERT_PTR_NULL(strstr(err.text, "of another kind"));
}

/* ---- extensions ------------------------------------------------------------------------------ */

static int parse(const uint8_t *cluster, uint64_t have, uint64_t end, qb_ext_list *list,
                 uint64_t *list_end)
{
    struct qb_err err = {.code = QB_E_NONE};
    int r = qb_ext_parse(cluster, have, 112, end, list, list_end, &err);

    CU_ASSERT_EQUAL(r < 0, err.code == QB_E_CORRUPT);
    return r;
}

static void extensions_are_found_until_the_end_marker(void)
{
    uint8_t c[512] = {0};
    qb_ext_list list = {0};
    uint64_t end = 0;

    qb_ext_put(c + 112, QB_EXT_BACKING_FORMAT, "qcow2", 5);
    qb_ext_put(c + 128, 0x1234, "unknown", 8);
    qb_ext_put(c + 144, QB_EXT_END, NULL, 0);
    memset(c + 152, 0xff, 8); /* behind the marker nobody looks */
    CU_ASSERT_EQUAL(parse(c, 512, 512, &list, &end), 0);
    CU_ASSERT_EQUAL_FATAL(list.n, 2);
    CU_ASSERT_EQUAL(end, 152);
    CU_ASSERT_EQUAL(list.items[0].len, 5);
    CU_ASSERT_EQUAL(memcmp(list.items[0].data, "qcow2", 5), 0);
    CU_ASSERT_PTR_EQUAL(qb_ext_find(&list, 0x1234), &list.items[1]);
    CU_ASSERT_PTR_NULL(qb_ext_find(&list, QB_EXT_BITMAPS));
    qb_vec_free(&list);
}

static void extension_that_crosses_the_end_is_corrupt(void)
{
    static const uint32_t lengths[] = {185, 393, 0x7fffffff, 0xfffffff8, 0xffffffff};
    qb_ext_list list = {0};
    uint64_t end = 0;

    for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
        uint8_t c[512] = {0};

        poke_be(c + 112, 0x1234, 4);
        poke_be(c + 116, lengths[i], 4);
        CU_ASSERT_EQUAL(parse(c, 512, 300, &list, &end), lengths[i] > 180 ? -1 : 0);
    }
    qb_vec_free(&list);
}

static void extensions_ask_for_more_bytes_where_the_buffer_ends(void)
{
    uint8_t c[512] = {0};
    qb_ext_list list = {0};
    uint64_t end = 0;

    qb_ext_put(c + 112, 0x1234, c, 100);
    CU_ASSERT_EQUAL(parse(c, 112, 512, &list, &end), 1);
    CU_ASSERT_EQUAL(parse(c, 119, 512, &list, &end), 1);
    CU_ASSERT_EQUAL(parse(c, 219, 512, &list, &end), 1);
    CU_ASSERT_EQUAL(parse(c, 220, 512, &list, &end), 1); /* the end marker is not there yet */
    CU_ASSERT_EQUAL(parse(c, 232, 512, &list, &end), 0);
    qb_vec_free(&list);
}

static void extensions_may_just_stop_at_the_backing_name(void)
{
    uint8_t c[512] = {0};
    qb_ext_list list = {0};
    uint64_t end = 77;

    qb_ext_put(c + 112, 0x1234, "abc", 3);
    memset(c + 128, 'n', 20);
    CU_ASSERT_EQUAL(parse(c, 512, 128, &list, &end), 0);
    CU_ASSERT_EQUAL(list.n, 1);
    CU_ASSERT_EQUAL(end, 0);
    qb_vec_free(&list);
}

static void last_extension_of_a_type_wins(void)
{
    uint8_t c[512] = {0};
    qb_ext_list list = {0};
    uint64_t end = 0;

    qb_ext_put(c + 112, QB_EXT_BACKING_FORMAT, "raw", 3);
    qb_ext_put(c + 128, QB_EXT_BACKING_FORMAT, "qcow2", 5);
    CU_ASSERT_EQUAL(parse(c, 512, 512, &list, &end), 0);
    CU_ASSERT_EQUAL_FATAL(list.n, 2);
    CU_ASSERT_EQUAL(qb_ext_find(&list, QB_EXT_BACKING_FORMAT)->len, 5);
    qb_vec_free(&list);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(header_of_version_3_is_decoded),
        UNIT(header_of_version_2_has_its_fixed_values),
        UNIT(header_complains_about_each_spoiled_field),
        UNIT(header_that_ends_too_early_is_refused),
        UNIT(header_allows_what_is_merely_unusual),
        UNIT(header_comes_back_as_it_was_encoded),
        UNIT(short_header_keeps_what_stands_behind_it),
        UNIT(geometry_follows_from_the_header),
        UNIT(unknown_features_are_refused_by_their_names),
        UNIT(extensions_are_found_until_the_end_marker),
        UNIT(extension_that_crosses_the_end_is_corrupt),
        UNIT(extensions_ask_for_more_bytes_where_the_buffer_ends),
        UNIT(extensions_may_just_stop_at_the_backing_name),
        UNIT(last_extension_of_a_type_wins),
    };

    return unit_main("header", tests, UNIT_COUNT(tests));
}
