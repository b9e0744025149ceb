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

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(snapshots_records_are_those_of_the_amended_image),
        UNIT(every_layer_maps_every_cluster_alike),
    };

    return scratch_main("undo_maps", tests, UNIT_COUNT(tests));
}
