/* Plans of canonical images, step for step.  A plan that changes by accident is seen here; one that
 * changes on purpose changes these texts, and a reader can judge them.  Clusters of 512 bytes: the
 * header, the refcount table, the refcount block and the L1 table lie at 0, 0x200, 0x400, 0x600;
 * the first L2 table follows. */
#include <stdlib.h>
#include <string.h>

#include "amends.h"
#include "unit.h"

struct text {
    char bytes[2000];
};

static void add_line(void *arg, const char *line)
{
    struct text *t = arg;
    size_t used = strlen(t->bytes);

    snprintf(t->bytes + used, sizeof(t->bytes) - used, "%s\n", line);
}

#define KIB 1024u

static void expect_plan(const char *name, const struct image_shape *shape, const char *script,
                        const struct qb_request *rq, const char *expected)
{
    struct image_bytes image = image_make(shape, script);
    struct qb_mem_log *log = run_machine(&image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    const struct qb_mem_event *events;
    struct text t = {{0}};

    if (qb_amend_plan(a, io, rq) < 0)
        snprintf(t.bytes, sizeof(t.bytes), "%s\n", qb_amend_result(a)->err.text);
    else
        qb_amend_describe(a, add_line, &t);
    if (strcmp(t.bytes, expected) != 0)
        fprintf(stderr, "\n---- %s: planned\n%s---- expected\n%s", name, t.bytes, expected);
    CU_ASSERT_STRING_EQUAL(t.bytes, expected);
    CU_ASSERT_EQUAL(qb_mem_events(log, &events), 0); /* planning never writes */
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

static const struct image_shape small = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 64 * KIB};
static const struct image_shape small_2 = {
    .version = 2, .cluster_bits = 9, .refcount_order = 4, .size = 64 * KIB};

static void nothing_to_do_is_no_plan(void)
{
    static const struct qb_request rq = {.set = QB_KEY_COMPAT, .compat = 3};

    expect_plan("nothing to do", &small, "d4", &rq, "");
}

static void header_change_is_one_sector(void)
{
    static const struct qb_request lazy = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true};
    static const struct qb_request up = {.set = QB_KEY_COMPAT, .compat = 3};
    static const struct qb_request backing = {.set = QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
                                              .backing_file = "base.raw",
                                              .backing_fmt = "raw"};
    static const struct qb_request grow = {.set = QB_KEY_SIZE, .size = 200 * KIB};

    expect_plan("lazy refcounts", &small, "d4", &lazy, "flip: sector 0\n");
    expect_plan("up", &small_2, "d4", &up, "flip: sector 0\n");
    expect_plan("backing file", &small, "d4", &backing, "flip: sector 0\n");
    expect_plan("grow within the L1 table's cluster", &small, "d4", &grow, "flip: sector 0\n");
}

static void name_that_has_no_room_goes_behind_the_sector(void)
{
    static const struct image_shape shape = {.version = 3,
                                             .cluster_bits = 12,
                                             .refcount_order = 4,
                                             .size = 64 * KIB,
                                             .feature_names = true};
    static const struct qb_request rq = {.set = QB_KEY_BACKING_FILE, .backing_file = "base.raw"};

    expect_plan("name", &shape, "d", &rq,
                "append: backing file name at 0x200\n"
                "flip: sector 0\n");
}

static void downgrade_without_backing_file_only_unallocates(void)
{
    static const struct qb_request rq = {.set = QB_KEY_COMPAT, .compat = 2};

    expect_plan("down", &small, "d2z2Z2", &rq,
                "append: file length 4608 -> 6656\n"
                "append: L2 table 0 at 0x1200\n"
                "append: L1 table 0 at 0x1400\n"
                "append: refcount block 0 at 0x1600\n"
                "append: refcount table 0 at 0x1800\n"
                "flip: sector 0\n"
                "settle: punch 0x200-0xa00\n"
                "settle: punch 0xe00-0x1200\n");
}

static void downgrade_never_touches_what_a_snapshot_owns(void)
{
    static const struct qb_request rq = {.set = QB_KEY_COMPAT, .compat = 2};

    expect_plan("down with a snapshot", &small, "d4 S @0Z2", &rq,
                "append: file length 6144 -> 8192\n"
                "append: L2 table 0 at 0x1800\n"
                "append: L1 table 0 at 0x1a00\n"
                "append: refcount block 0 at 0x1c00\n"
                "append: refcount table 0 at 0x1e00\n"
                "flip: sector 0\n"
                "settle: punch 0x200-0x800\n"
                "settle: punch 0x1400-0x1600\n");
}

static void width_change_writes_every_block_anew(void)
{
    static const struct qb_request rq = {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64};

    expect_plan("width", &small, "d60", &rq,
                "append: file length 33280 -> 34816\n"
                "append: refcount block 0 at 0x8200\n"
                "append: refcount block 1 at 0x8400\n"
                "append: refcount table 0 at 0x8600\n"
                "flip: sector 0\n"
                "settle: punch 0x200-0x600\n");
}

static void growing_over_vm_state_lets_it_go(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 60 * KIB};
    static const struct qb_request rq = {.set = QB_KEY_SIZE, .size = 200 * KIB};

    expect_plan("VM state", &shape, "d2 V d3", &rq,
                "append: file length 5632 -> 7168\n"
                "append: L1 table 0 at 0x1600\n"
                "append: refcount block 0 at 0x1800\n"
                "append: refcount table 0 at 0x1a00\n"
                "flip: sector 0\n"
                "settle: punch 0x200-0x800\n"
                "settle: punch 0xe00-0x1600\n");
}

static void shrinking_in_a_cluster_copies_the_last_one(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 10, .refcount_order = 4, .size = 64 * KIB};
    static const struct qb_request rq = {
        .set = QB_KEY_SIZE, .size = 3 * KIB + 512, .allow_shrink = true};

    expect_plan("shrink", &shape, "d6", &rq,
                "append: file length 11264 -> 16384\n"
                "append: L2 table 0 at 0x2c00\n"
                "append: L1 table 0 at 0x3000\n"
                "append: the last cluster, zero past the disk's end 0 at 0x3400\n"
                "append: refcount block 0 at 0x3800\n"
                "append: refcount table 0 at 0x3c00\n"
                "flip: sector 0\n"
                "settle: punch 0x400-0x1400\n"
                "settle: punch 0x2000-0x2c00\n");
}

static void repair_writes_what_is_wrong(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 64 * KIB, .dirty = true};
    static const struct qb_request rq = {.set = 0};

    expect_plan("repair", &shape, "d9", &rq,
                "append: file length 7168 -> 9216\n"
                "append: L2 table 0 at 0x1c00\n"
                "append: L1 table 0 at 0x1e00\n"
                "append: refcount block 0 at 0x2000\n"
                "append: refcount table 0 at 0x2200\n"
                "flip: sector 0\n"
                "settle: punch 0x200-0xa00\n");
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(nothing_to_do_is_no_plan),
        UNIT(header_change_is_one_sector),
        UNIT(name_that_has_no_room_goes_behind_the_sector),
        UNIT(downgrade_without_backing_file_only_unallocates),
        UNIT(downgrade_never_touches_what_a_snapshot_owns),
        UNIT(width_change_writes_every_block_anew),
        UNIT(growing_over_vm_state_lets_it_go),
        UNIT(shrinking_in_a_cluster_copies_the_last_one),
        UNIT(repair_writes_what_is_wrong),
    };

    return unit_main("plan", tests, UNIT_COUNT(tests));
}
