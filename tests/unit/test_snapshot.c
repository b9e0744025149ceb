/* The snapshot table's decoder and encoder. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "qcow2/snapshot.h"
#include "poke.h"
#include "unit.h"

#define HEADER_SIZE 777216u

/* One entry with `extra` bytes of extra data; returns where the next one starts. */
static uint64_t entry(uint8_t *bytes, uint64_t at, uint32_t extra, const char *id, const char *name)
{
    uint8_t *e = bytes + at, x[64];

    memset(x, 0xe7, sizeof(x));
    poke_be(x, 5ull << 32, 8); /* VM state */
    poke_be(x + 8, 123456, 8); /* disk size */
    poke_be(e, 0x70000 + at, 8);
    poke_be(e + 8, 3, 4);
    poke_be(e + 12, strlen(id), 2);
    poke_be(e + 14, strlen(name), 2);
    poke_be(e + 16, 1700000000, 4);
    poke_be(e + 20, 5, 4);
    poke_be(e + 24, 99, 8);
    poke_be(e + 32, 4096, 4);
    poke_be(e + 36, extra, 4);
    memcpy(e + 40, x, extra);
    memcpy(e + 40 + extra, id, strlen(id));
    memcpy(e + 40 + extra + strlen(id), name, strlen(name));
    return qb_round_up(at + 40 + extra + strlen(id) + strlen(name), 8);
}

static void snapshots_of_every_age_are_decoded(void)
{
    uint8_t bytes[512] = {0};
    struct qb_snapshot_table t = {0};
    uint64_t at = 0;

    at = entry(bytes, at, 0, "1", "oldest");
    at = entry(bytes, at, 8, "2", "old");
    at = entry(bytes, at, 16, "3", "");
    entry(bytes, at, 24, "44", "today");
    CU_ASSERT_EQUAL_FATAL(qb_snapshot_decode(bytes, 512, 4, HEADER_SIZE, &t, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(t.list.n, 4);
    CU_ASSERT_EQUAL(t.len, at + 40 + 24 + 2 + 5); /* no padding behind the last */
    CU_ASSERT_EQUAL(t.list.items[0].vm_state_size, 4096);
    CU_ASSERT_EQUAL(t.list.items[0].disk_size, HEADER_SIZE);
    CU_ASSERT(!t.list.items[0].has_disk_size);
    CU_ASSERT_EQUAL(t.list.items[1].vm_state_size, 5ull << 32);
    CU_ASSERT_EQUAL(t.list.items[1].disk_size, HEADER_SIZE);
    CU_ASSERT(!t.list.items[1].has_disk_size);
    for (unsigned i = 2; i < 4; i++) {
        CU_ASSERT_EQUAL(t.list.items[i].disk_size, 123456);
        CU_ASSERT(t.list.items[i].has_disk_size);
    }
    CU_ASSERT_EQUAL(t.list.items[3].l1_offset, 0x70000 + at);
    CU_ASSERT_EQUAL(t.list.items[3].l1_size, 3);
    CU_ASSERT_EQUAL(t.list.items[3].id_len, 2);
    CU_ASSERT_EQUAL(t.list.items[3].name_len, 5);
    CU_ASSERT_PTR_EQUAL(t.list.items[3].raw, bytes + at);
    qb_vec_free(&t.list);
}

static void snapshots_ask_for_more_bytes_where_the_buffer_ends(void)
{
    uint8_t bytes[512] = {0};
    struct qb_snapshot_table t = {0};
    uint64_t second = entry(bytes, 0, 24, "1", "one"), len = second + 40 + 24 + 4;

    entry(bytes, second, 24, "2", "two");
    for (uint64_t have = 0; have < len; have++) {
        uint8_t *exact = malloc(have ? have : 1); /* for the sanitizer */

        CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
        memcpy(exact, bytes, have);
        CU_ASSERT_EQUAL(qb_snapshot_decode(exact, have, 2, HEADER_SIZE, &t, NULL), 1);
        free(exact);
    }
    CU_ASSERT_EQUAL(qb_snapshot_decode(bytes, len, 2, HEADER_SIZE, &t, NULL), 0);
    qb_vec_free(&t.list);
}

static void snapshot_with_too_much_extra_data_is_corrupt(void)
{
    static const uint32_t lengths[] = {1025, 65536, UINT32_MAX};
    uint8_t bytes[2048] = {0};
    struct qb_snapshot_table t = {0};
    uint64_t second = entry(bytes, 0, 24, "1", "one");

    entry(bytes, second, 24, "2", "two");
    for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
        struct qb_err err;

        poke_be(bytes + second + 36, lengths[i], 4);
        CU_ASSERT_EQUAL(qb_snapshot_decode(bytes, 2048, 2, HEADER_SIZE, &t, &err), -1);
        CU_ASSERT_EQUAL(err.code, QB_E_CORRUPT);
        CU_ASSERT_EQUAL(err.offset, second);
    }
    poke_be(bytes + second + 36, 1024, 4);
    CU_ASSERT_EQUAL(qb_snapshot_decode(bytes, 2048, 2, HEADER_SIZE, &t, NULL), 0);
    qb_vec_free(&t.list);
}

static void unchanged_table_is_encoded_as_it_was(void)
{
    uint8_t bytes[512] = {0}, *now;
    struct qb_snapshot_table t = {0};
    uint64_t at = entry(bytes, 0, 0, "1", "oldest"), len;

    at = entry(bytes, at, 8, "2", "old");
    entry(bytes, at, 40, "3", "of tomorrow"); /* extra data that this code does not know */
    CU_ASSERT_EQUAL_FATAL(qb_snapshot_decode(bytes, 512, 3, HEADER_SIZE, &t, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_snapshot_encode(&t, false, &now, &len, NULL), 0);
    CU_ASSERT_EQUAL(len, t.len);
    CU_ASSERT_EQUAL(memcmp(now, bytes, len), 0);
    free(now);
    qb_vec_free(&t.list);
}

static void version_3_gets_the_extra_data_that_it_wants(void)
{
    uint8_t bytes[512] = {0}, *now;
    struct qb_snapshot_table t = {0}, again = {0};
    uint64_t at = entry(bytes, 0, 0, "1", "oldest"), len;

    at = entry(bytes, at, 8, "2", "old");
    entry(bytes, at, 40, "3", "of tomorrow");
    CU_ASSERT_EQUAL_FATAL(qb_snapshot_decode(bytes, 512, 3, HEADER_SIZE, &t, NULL), 0);
    t.list.items[1].l1_offset = 0xabc0000;
    CU_ASSERT_EQUAL_FATAL(qb_snapshot_encode(&t, true, &now, &len, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_snapshot_decode(now, len, 3, 1, &again, NULL), 0);
    CU_ASSERT_EQUAL(again.len, len);
    for (unsigned i = 0; i < 3; i++) {
        const struct qb_snapshot *a = &t.list.items[i], *b = &again.list.items[i];

        CU_ASSERT(b->has_disk_size);
        CU_ASSERT_EQUAL(b->disk_size, a->disk_size);
        CU_ASSERT_EQUAL(b->vm_state_size, a->vm_state_size);
        CU_ASSERT_EQUAL(b->l1_offset, a->l1_offset);
        CU_ASSERT_EQUAL(b->l1_size, a->l1_size);
        CU_ASSERT_EQUAL(b->extra_len, QB_MAX(a->extra_len, 16));
        CU_ASSERT_EQUAL(memcmp(b->raw + 12, a->raw + 12, 24), 0); /* lengths, dates, VM clock */
        CU_ASSERT_EQUAL(memcmp(b->raw + 40 + b->extra_len, a->raw + 40 + a->extra_len,
                               (size_t)a->id_len + a->name_len),
                        0);
    }
    CU_ASSERT_EQUAL(memcmp(again.list.items[2].raw + 40, t.list.items[2].raw + 40, 40), 0);
    free(now);
    qb_vec_free(&t.list);
    qb_vec_free(&again.list);
}

static void no_snapshots_are_no_table(void)
{
    struct qb_snapshot_table t = {0};
    uint8_t *now;
    uint64_t len = 9;

    CU_ASSERT_EQUAL(qb_snapshot_decode((const uint8_t *)"", 0, 0, HEADER_SIZE, &t, NULL), 0);
    CU_ASSERT_EQUAL(t.len, 0);
    CU_ASSERT_EQUAL(qb_snapshot_encode(&t, true, &now, &len, NULL), 0);
    CU_ASSERT_EQUAL(len, 0);
    free(now);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(snapshots_of_every_age_are_decoded),
        UNIT(snapshots_ask_for_more_bytes_where_the_buffer_ends),
        UNIT(snapshot_with_too_much_extra_data_is_corrupt),
        UNIT(unchanged_table_is_encoded_as_it_was),
        UNIT(version_3_gets_the_extra_data_that_it_wants),
        UNIT(no_snapshots_are_no_table),
    };

    return unit_main("snapshot", tests, UNIT_COUNT(tests));
}
