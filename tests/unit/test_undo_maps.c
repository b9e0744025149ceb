/* An undo compares what guests see under the old header and under the new one: changes to tables
 * and records that the old header alone leads to, which no fingerprint of the amend covers. */
#include "scratch.h"
#include "undoing.h"

#define SHAPE(v)                                                                                   \
    {                                                                                              \
        .version = v, .cluster_bits = 9, .refcount_order = 4, .size = 65536                        \
    }
#define BACKED                                                                                     \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536,                       \
        .backing_file = "base", .backing_fmt = "raw"                                               \
    }
#define UP                                                                                         \
    {                                                                                              \
        .set = QB_KEY_COMPAT, .compat = 3, .keep_undo = true                                       \
    }
#define DOWN                                                                                       \
    {                                                                                              \
        .set = QB_KEY_COMPAT, .compat = 2, .keep_undo = true                                       \
    }
#define FAR /* a new L1 table */                                                                   \
    {                                                                                              \
        .set = QB_KEY_SIZE, .size = 3 << 20, .keep_undo = true                                     \
    }
#define SHRINK                                                                                     \
    {                                                                                              \
        .set = QB_KEY_SIZE, .size = 16384, .allow_shrink = true, .keep_undo = true                 \
    }
#define ALLOCATED                                                                                  \
    {                                                                                              \
        .set = QB_KEY_PREALLOCATION, .preallocation = "metadata", .keep_undo = true                \
    }
#define EXTENDED(on, bytes)                                                                        \
    {                                                                                              \
        .version = 3, .cluster_bits = 14, .refcount_order = 4, .size = (bytes), .extended_l2 = on  \
    }
#define TO_EXTENDED(on)                                                                            \
    {                                                                                              \
        .set = QB_KEY_EXTENDED_L2, .extended_l2 = on, .keep_undo = true                            \
    }
#define RECLAIM                                                                                    \
    {                                                                                              \
        .set = QB_KEY_RECLAIM, .reclaim_zeros = true, .keep_undo = true                            \
    }
#define ZSTD                                                                                       \
    {                                                                                              \
        .set = QB_KEY_COMPRESSION_TYPE, .compression_type = "zstd", .keep_undo = true              \
    }
#define MIB    (1ull << 20)
#define COPIED 0x8000000000000000ull

/* Of an entry of version 2: the L1 table's size, the clock, the VM state's size, the name. */
static const struct change records[] = {
    {"nothing, up", SHAPE(2), "dSd2", UP, {{0}}, NULL},
    {"a snapshot's L1 size", SHAPE(2), "dSd2", UP, {{IN_SNAPSHOTS, 8, 4, 1}}, "snapshot 0 changed"},
    {"a snapshot's clock", SHAPE(2), "dSd2", UP, {{IN_SNAPSHOTS, 24, 8, 7}}, "snapshot 0 changed"},
    {"a snapshot's VM state", SHAPE(2), "dSd2", UP, {{IN_SNAPSHOTS, 32, 4, 7}}, "snapshot 0 chang"},
    {"a snapshot's name", SHAPE(2), "dSd2", UP, {{IN_SNAPSHOTS, 45, 1, 'x'}}, "snapshot 0 changed"},
    {"a snapshot's disk",
     SHAPE(3),
     "d2zS@0d2",
     DOWN,
     {{IN_SNAPSHOTS, 48, 8, 32768}},
     "snapshot 0 changed"},
};

static const struct change tables[] = {
    {"nothing, down", SHAPE(3), "d2zS@0d2", DOWN, {{0}}, NULL},
    {"nothing, far", SHAPE(3), "d@64d", FAR, {{0}}, NULL},
    {"a snapshot's clusters, exchanged",
     SHAPE(3),
     "d2zS@0d2",
     DOWN,
     {{IN_SNAPSHOT_TABLE, 0, 8, 0xc00}, {IN_SNAPSHOT_TABLE, 8, 8, 0xa00}},
     "what the guest cluster at 0 consists of changed"},
    {"a COPIED flag that is gone",
     SHAPE(3),
     "d2z",
     DOWN,
     {{IN_TABLE, 0, 8, 0xa00}},
     "what the old header refers to is not whole"},
    {"a table more, in a cluster that had leaked",
     SHAPE(3),
     "dL",
     FAR,
     {{IN_L1, 8, 8, COPIED | 0xc00}, {IN_HEADER, 0xc00, 8, 1}},
     "what the guest cluster at 32768 consists of changed"},
    {"data that read zero",
     SHAPE(3),
     "d2z",
     DOWN,
     {{IN_TABLE, 0, 8, COPIED | 0xa01}},
     "what the guest cluster at 0 consists of changed"},
    {"a table of zeros over a backing file, gone",
     BACKED,
     "d@64z",
     DOWN,
     {{IN_L1, 8, 8, 0}},
     "what the guest cluster at 32768 consists of changed"},
    {"nothing, preallocated", SHAPE(3), "d2z@64z2Z", ALLOCATED, {{0}}, NULL},
    {"nothing, preallocated over a backing file", BACKED, "d2z@64z2Z", ALLOCATED, {{0}}, NULL},
    {"a preallocated zero cluster over a backing file, gone",
     BACKED,
     "d2z@40d",
     ALLOCATED,
     {{IN_TABLE, 16, 8, 0}},
     "what the guest cluster at 1024 consists of changed"},
    {"zeros over a backing file, in a table that was cut",
     BACKED,
     "d9@40d",
     SHRINK,
     {{IN_TABLE, 160, 8, 1}},
     "what the guest cluster at 10240 consists of changed"},
};

/* A standard table of 16 KiB has 2048 entries, an extended one 1024.  The image's first cluster is
 * its header, the next ones are the refcount table and a block, its L1 table, its first L2 table
 * and the data. */
static const struct change conversions[] = {
    {"nothing, on",
     EXTENDED(false, 40 * MIB),
     "d2zZ@1030d2@2100dSd2",
     TO_EXTENDED(true),
     {{0}},
     NULL},
    {"nothing, off",
     EXTENDED(true, 40 * MIB),
     "d2zZi@1030d2i@2100dSd2",
     TO_EXTENDED(false),
     {{0}},
     NULL},
    {"nothing, on, VM state",
     EXTENDED(false, 40 * MIB),
     "dVd3SVd2c@2100d",
     TO_EXTENDED(true),
     {{0}},
     NULL},
    {"nothing, off, VM state",
     EXTENDED(true, 17 * MIB),
     "dVd3SR35651584@1100dVd2S@3d",
     TO_EXTENDED(false),
     {{0}},
     NULL},
    {"a data cluster that reads zero, on",
     EXTENDED(false, 40 * MIB),
     "d2",
     TO_EXTENDED(true),
     {{IN_TABLE, 15, 1, 1}},
     "what the guest cluster at 16384 consists of changed"},
    {"a data cluster with a subcluster less, off",
     EXTENDED(true, 40 * MIB),
     "d2",
     TO_EXTENDED(false),
     {{IN_TABLE, 24, 8, 0x7fffffff}},
     "what the guest cluster at 16384 consists of changed"},
    {"a data cluster with a subcluster of zeros, off",
     EXTENDED(true, 40 * MIB),
     "d2",
     TO_EXTENDED(false),
     {{IN_TABLE, 24, 8, 0x1fffffffeull}},
     "what the guest cluster at 16384 consists of changed"},
    {"subclusters of an unallocated cluster that read zero, off",
     EXTENDED(true, 40 * MIB),
     "d2",
     TO_EXTENDED(false),
     {{IN_TABLE, 40, 8, 0x100000000ull}},
     "what the guest cluster at 32768 consists of changed"},
    {"a host cluster, of which something shows, off",
     EXTENDED(true, 40 * MIB),
     "di",
     TO_EXTENDED(false),
     {{IN_TABLE, 24, 8, 0xffffffff}},
     "what the guest cluster at 16384 consists of changed"},
    {"a data cluster of which nothing shows, off",
     EXTENDED(true, 40 * MIB),
     "d2",
     TO_EXTENDED(false),
     {{IN_TABLE, 24, 8, 0}},
     "what the guest cluster at 16384 consists of changed"},
    {"an entry in the other half of its table, on",
     EXTENDED(false, 40 * MIB),
     "d",
     TO_EXTENDED(true),
     {{IN_TABLE, 0, 8, 0}, {IN_TABLE, 8192, 8, COPIED | 0x14000}},
     "what the guest cluster at 0 consists of changed"},
    {"clusters that are exchanged, off",
     EXTENDED(true, 40 * MIB),
     "d2",
     TO_EXTENDED(false),
     {{IN_TABLE, 0, 8, COPIED | 0x18000}, {IN_TABLE, 16, 8, COPIED | 0x14000}},
     "what the guest cluster at 0 consists of changed"},
    {"a snapshot's cluster that reads zero, on",
     EXTENDED(false, 40 * MIB),
     "d2Sd",
     TO_EXTENDED(true),
     {{IN_SNAPSHOT_TABLE, 15, 1, 1}},
     "what the guest cluster at 16384 consists of changed"},
    {"a subcluster of several that reads zero",
     EXTENDED(true, 40 * MIB),
     "dp",
     {.set = QB_KEY_PREALLOCATION, .preallocation = "metadata", .keep_undo = true},
     {{IN_TABLE, 24, 1, 0x70}},
     "what the guest cluster at 16384 consists of changed"},
    {"an entry in the second half of its table, gone, on",
     EXTENDED(false, 40 * MIB),
     "d@1030z",
     TO_EXTENDED(true),
     {{IN_TABLE, 8 * 1030, 8, 0}},
     "what the guest cluster at 16875520 consists of changed"},
    {"clusters of VM state that are exchanged, on",
     EXTENDED(false, 16 * MIB),
     "dVd2",
     TO_EXTENDED(true),
     {{IN_HEADER, 0x18000, 8, COPIED | 0x20000}, {IN_HEADER, 0x18008, 8, COPIED | 0x1c000}},
     "what the cluster of VM state at 0 consists of changed"},
    {"VM state in a table further on, off",
     EXTENDED(true, 17 * MIB),
     "dVd",
     TO_EXTENDED(false),
     {{IN_L1, 8, 8, COPIED | 0x18000}, {IN_L1, 16, 8, 0}},
     "what the cluster of VM state at 0 consists of changed"},
};

/* Tables of 64 entries; the first cluster of data is at 0xa00.  Old clusters of zeros and
 * compressed ones are the old image's alone, as are the tables that lead to them. */
static const struct change kept[] = {
    {"nothing, zeros", SHAPE(3), "dod2So2@64o3Z", RECLAIM, {{0}}, NULL},
    {"nothing, zeros over a backing file", BACKED, "dod2So2@64o3Z", RECLAIM, {{0}}, NULL},
    {"a cluster of zeros that is none any more",
     SHAPE(3),
     "dod",
     RECLAIM,
     {{IN_HEADER, 0xc08, 1, 1}},
     "what the guest cluster at 512 consists of changed"},
    {"one over a backing file",
     BACKED,
     "dod",
     RECLAIM,
     {{IN_HEADER, 0xc08, 1, 1}},
     "what the guest cluster at 512 consists of changed"},
    {"an entry that leads to data, not to zeros",
     SHAPE(3),
     "dod",
     RECLAIM,
     {{IN_TABLE, 0, 8, COPIED | 0xc00}, {IN_TABLE, 8, 8, COPIED | 0xa00}},
     "what the guest cluster at 0 consists of changed"},
    {"nothing, recompressed", SHAPE(3), "dc3d2Sc2@64c5", ZSTD, {{0}}, NULL},
};

static void old_clusters_are_kept_as_they_were(void)
{
    static const uint8_t bytes[65536] = {1};

    make_file("base", bytes, sizeof(bytes));
    amended_judge(kept, UNIT_COUNT(kept), IN_OLD);
}

static void snapshots_records_are_those_of_the_amended_image(void)
{
    amended_judge(records, UNIT_COUNT(records), IN_OLD);
}

static void every_layer_maps_every_cluster_alike(void)
{
    static const uint8_t bytes[65536] = {1};

    make_file("base", bytes, sizeof(bytes));
    amended_judge(tables, UNIT_COUNT(tables), IN_OLD);
}

static void tables_of_both_formats_say_the_same(void)
{
    amended_judge(conversions, UNIT_COUNT(conversions), IN_OLD);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(snapshots_records_are_those_of_the_amended_image),
        UNIT(every_layer_maps_every_cluster_alike),
        UNIT(tables_of_both_formats_say_the_same),
        UNIT(old_clusters_are_kept_as_they_were),
    };

    return scratch_main("undo_maps", tests, UNIT_COUNT(tests));
}
