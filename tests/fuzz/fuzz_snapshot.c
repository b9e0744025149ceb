/* The snapshot table: what decodes can be encoded, and says the same afterwards. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "qcow2/snapshot.h"

static const uint8_t *names_of(const struct qb_snapshot *s)
{
    return s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;
}

static void check_same(const struct qb_snapshot *a, const struct qb_snapshot *b)
{
    FUZZ_HOLDS(a->l1_offset == b->l1_offset && a->l1_size == b->l1_size &&
                   a->vm_state_size == b->vm_state_size && a->disk_size == b->disk_size &&
                   a->id_len == b->id_len && a->name_len == b->name_len &&
                   memcmp(names_of(a), names_of(b), (size_t)a->id_len + a->name_len) == 0,
               "a snapshot changes when the table is written");
}

static void check_again(const struct qb_snapshot_table *t, bool with_extra, uint64_t header_size)
{
    struct qb_snapshot_table again = {0};
    struct qb_err err;
    uint64_t len;

    if (qb_snapshot_encode(t, with_extra, &again.bytes, &len, &err) < 0)
        fuzz_broken("a table that was decoded cannot be encoded: %s", err.text);
    FUZZ_HOLDS(
        qb_snapshot_decode(again.bytes, len, (uint32_t)t->list.n, header_size, &again, &err) == 0,
        "what was written does not decode");
    FUZZ_HOLDS(again.len == len, "the table's length changes");
    for (size_t i = 0; i < t->list.n; i++) {
        check_same(&t->list.items[i], &again.list.items[i]);
        FUZZ_HOLDS(!with_extra || again.list.items[i].has_disk_size, "no disk size");
    }
    qb_snapshot_table_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint32_t count = (uint32_t)fuzz_take(&in, 1);
    uint64_t header_size = fuzz_take(&in, 2) * QB_SECTOR;
    struct qb_snapshot_table t = {.bytes = fuzz_copy_rest(&in)};
    struct qb_err err;

    if (qb_snapshot_decode(t.bytes, in.left, count, header_size, &t, &err) == 0) {
        FUZZ_HOLDS(t.len <= in.left && t.list.n == count, "the table leaves the buffer");
        check_again(&t, false, header_size);
        check_again(&t, true, header_size);
    }
    qb_snapshot_table_free(&t);
    return 0;
}
