#include "amends.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "check/census.h"
#include "io/backend.h"
#include "recipes.h"

#define SHORT_BYTES (40 * KIB + 100)
#define LONG_BYTES  (300 * KIB)
#define FAR_NAME    300u
#define MOST_FILLED (4ull << 20)

/* ---- images ---------------------------------------------------------------------------------- */

const struct recipe recipes[] = {
    {"empty", V3(9, 4, 64 * KIB), "", false},
    {"no disk at all", V3(9, 4, 0), "", false},
    {"no disk but snapshots", V3(9, 4, 0), "SSS", false},
    {"every kind", V3(9, 4, 64 * KIB), "d5 @20z3Z4.d @70d3z2c3 @100Z3", false},
    {"every kind, version 2", V2(9, 64 * KIB), "d5 @70d3c3 @100d", false},
    {"version 2 with snapshots", V2(9, 64 * KIB), "d5c2 S d2 @70d3 S @72d S", false},
    {"version 2, old extra data", V2(9, 64 * KIB, .snapshot_extra = 8), "d5c2 S d2 S", false},
    {"snapshots that share tables", V3(9, 4, 64 * KIB), "d10 S z3 @70d2 S @0Z5 S", false},
    {"zero clusters that a snapshot owns", V3(9, 4, 64 * KIB), "d4 S @0Z4", false},
    {"zero clusters between snapshots", V3(9, 4, 64 * KIB), "d4 S @0Z2z S @0.4 S", false},
    {"snapshots applied and deleted", V3(9, 4, 64 * KIB), "d4 @70d4 S @0Z2 @70Z4 S A1 X1", false},
    {"snapshots applied and kept", V3(9, 4, 64 * KIB), "d4 S @0Z2 S z3 @2d4 S A1 @3Z A2 X3", false},
    {"a table of zeros alone", V3(9, 4, 64 * KIB), "z64 Z64", false},
    {"VM state left behind", V3(9, 4, 60 * KIB), "d4 V d3z2Z S", false},
    {"VM state of snapshots", V3(9, 4, 60 * KIB), "d4 V d3z S V .4 @2d V Z2 S", false},
    {"VM state, backed", V3(9, 4, 30 * KIB, BACKED("@long")), "d4 V d3zZ S V zz @3Z", false},
    {"zeros written", V3(9, 4, 64 * KIB), "d3o2 @8o8Z2 S @9d2o3 S d1 @64o64", false},
    {"zeros written, backed", V3(9, 4, 64 * KIB, BACKED("@long")), "d3o2 @8o8Z2 S @9d2o3 @64o64",
     false},
    {"zeros written, version 2", V2(9, 64 * KIB), "d3o2 @8o8 S @9d2o3 @64o64", false},
    {"compressed", V3(9, 4, 64 * KIB), "c6 S c2 @3d.2 @64c64", false},
    {"compressed, version 2", V2(9, 64 * KIB), "c128", false},
    {"compressed, clusters of 4 KiB", V3(12, 4, 256 * KIB), "c20 S @3c5 @10d3z3", false},
    {"refcounts of 1 bit", V3(9, 0, 64 * KIB), "d5z3Z3 H2L3 d3", false},
    {"refcounts of 2 bits", V3(9, 1, 64 * KIB), "d5z3 S @2Z3", false},
    {"refcounts of 4 bits", V3(9, 2, 64 * KIB), "d5z3 S @2Z3 S d2 S", false},
    {"refcounts of 8 bits", V3(9, 3, 64 * KIB), "d5z3c4 S @2Z3 S d2", false},
    {"refcounts of 32 bits", V3(9, 5, 64 * KIB), "d5z3c4 S @2Z3 S d2", false},
    {"refcounts of 64 bits", V3(9, 6, 64 * KIB), "d5z3c4 S @2Z3 S d2", false},
    {"many refcount blocks", V3(9, 6, 200 * KIB), "d250 H40 Z50z20 @10Z40", false},
    {"many tables", V3(9, 4, 900 * KIB),
     "d@70d@140d@210d@280z@350z@420Z@490d@560d@630d@700dS@0z@70Z@140z", false},
    {"dirty", V3(9, 4, 64 * KIB, .dirty = true, .lazy_refcounts = true), "d30Z3z2c5 @70d9", false},
    {"dirty with snapshots", V3(9, 4, 64 * KIB, .dirty = true), "d30 S @5Z9z2 S c5", false},
    {"dirty, refcounts of 1 bit", V3(9, 0, 64 * KIB, .dirty = true), "d30Z3z3", false},
    {"dirty, refcounts of 64 bits", V3(9, 6, 64 * KIB, .dirty = true), "d130 S @5Z9z2", false},
    {"dirty by name only", V3(9, 4, 64 * KIB, .dirty = true), "", false},
    {"dirty, rubbish behind", V3(9, 4, 64 * KIB, .dirty = true, .tail_bytes = 3000), "d9z", false},
    {"wrong counts", V3(9, 4, 64 * KIB, .wrong_counts = true), "d30Z3z2c5 @70d9 S d3 L2", false},
    {"wrong counts of 64 bits, version 3, backed",
     V3(9, 6, 64 * KIB, .wrong_counts = true, BACKED("@short")), "d130 S @5Z9z2", false},
    {"wrong counts, version 2", V2(9, 64 * KIB, .wrong_counts = true), "d30c5 @70d9 S d3", false},
    {"marked corrupt", V3(9, 4, 64 * KIB, .marked = true), "d9z5 S d2", false},
    {"marked corrupt, wrong counts, bitmaps in use",
     V3(9, 4, 64 * KIB, .marked = true, .wrong_counts = true, .bitmaps = 3, .bitmaps_in_use = 5),
     "d9 S @5z9 L3", false},
    {"leaks", V3(9, 4, 64 * KIB), "d3L5d2H3L2z3Z", false},
    {"leaks under lost snapshots", V3(9, 4, 64 * KIB, .lost_snapshots = true),
     "d9z5Z4 @70d9 S d4 @20z30 S d2 @71d3 z4", false},
    {"leaks that a narrow count cannot hold", V3(9, 4, 64 * KIB, .lost_snapshots = true),
     "d9z5Z4 SSSSSSS d4", false},
    {"leaks at the end", V3(10, 4, 128 * KIB), "d3z3L5", false},
    {"rubbish behind", V3(9, 4, 64 * KIB, .tail_bytes = 5000), "d3z3Z3", false},
    {"an odd length", V3(9, 4, 64 * KIB, .tail_bytes = 77), "d3z3Z3", false},
    {"the last cluster in part", V3(10, 4, 128 * KIB, .cut_bytes = 700), "z4Z2d5", false},
    {"refcounts behind the end", V3(9, 4, 64 * KIB, .counts_behind = true), "z4Z2d5", false},
    {"a size in the middle of a cluster", V3(12, 4, 100 * KIB + 512), "d26 @3Z2z2", false},
    {"a size in the middle of a sector", V3(12, 4, 50001), "@4d9Z2z2", false},
    {"... compressed there", V3(12, 4, 50001), "@4d4c5S", false},
    {"... with a snapshot, version 2", V2(10, 50001), "@4d45", false},
    {"L1 entries to spare", V3(9, 4, 64 * KIB, .l1_spare = 3), "d3z3Z3", false},
    {"disks that changed size", V3(9, 4, 64 * KIB), "d9 S R100000 @150d9 S R30000 z4", false},
    {"snapshots without sizes", V3(9, 4, 64 * KIB, .snapshot_extra = IMAGE_NO_EXTRA), "d9zS@3d4Z4S",
     false},
    {"snapshots with old extra data", V3(9, 4, 64 * KIB, .snapshot_extra = 16), "d9z3S@3d", false},
    {"backed by less", V3(9, 4, 64 * KIB, BACKED("@short")), "@60d5z9Z9 @100zZ @75.9", false},
    {"backed by more", V3(9, 4, 64 * KIB, BACKED("@long")), "d5z9Z9 S @3Z4z3 @100zZ", false},
    {"backed, size in a cluster", V3(12, 4, 33 * KIB, BACKED("@long")), "zZ@4dS", false},
    {"backed, size in a cluster, data", V3(12, 4, 33 * KIB, BACKED("@long")), "zZ@4d5", false},
    {"backed, version 2", V2(9, 64 * KIB, BACKED("@long")), "d5 @70d5", false},
    {"backed by an image", V3(10, 4, 64 * KIB, .backing_file = "@image", .backing_fmt = "qcow2"),
     "z9Z3d2 S d2 @40z20", false},
    {"backed, format unsaid", V3(10, 4, 64 * KIB, .backing_file = "@image"), "z9Z3d2", false},
    {"as QEMU makes them", V3(16, 4, 2048 * KIB, .feature_names = true), "d3z3 S Z2 c2", false},
    {"as QEMU makes them, backed", V3(16, 4, 512 * KIB, .feature_names = true, BACKED("@long")),
     "@2d z2Z", false},
    {"a name behind byte 512", V3(12, 4, 64 * KIB, .feature_names = true, BACKED("@short")),
     "@2dz2Z", false},
    {"as old QEMU makes them", V2(16, 1024 * KIB), "d3c2", false},
    {"a short header", V3(9, 4, 64 * KIB, .header_length = 104), "d3z3", false},
    {"a header with unknown fields", V3(9, 4, 64 * KIB, .header_length = 136), "d3z3", false},
    {"an unknown extension", V3(9, 4, 64 * KIB, .unknown_ext = 60), "d3z3", false},
    {"an extension that fills version 2", V2(9, 64 * KIB, .unknown_ext = 400), "d3", false},
    {"an extension behind byte 512", V3(11, 4, 64 * KIB, .unknown_ext = 500), "d3z3", false},
    {"bitmaps", V3(9, 4, 64 * KIB, .bitmaps = 3), "d9 S @5Z9z2 S c5", false},
    {"bitmaps of many clusters", V3(9, 6, 5000 * KIB, .bitmaps = 2), "d9 @2000z9", false},
    {"bitmaps, dirty", V3(9, 4, 64 * KIB, .bitmaps = 2, .dirty = true), "d9z3", false},
    {"bitmaps in use", V3(9, 4, 64 * KIB, .bitmaps = 3, .bitmaps_in_use = 5), "d9 S @5z9", false},
    {"extended L2 entries", V3(14, 4, 70000 * KIB, .extended_l2 = true),
     "d4z2Z2c2i2 @2040d12z3 S @2046d2z2 @3000Z2", false},
    {"extended L2 entries, partial",
     V3(14, 4, 1000 * KIB + 512, .extended_l2 = true, BACKED("@long")),
     "d2p3z2 S @3d2p2 @10pZi @62p", false},
    {"extended L2 entries, VM state", V3(14, 4, 17000 * KIB, .extended_l2 = true),
     "d4 V d3z S V .4 @2d V Z2d S", false},
    {"clusters of 16 KiB", V3(14, 4, 70000 * KIB), "d4z2Z2c2 @2046d4 S @2047z3 @3000Z2 @4090d9",
     false},
    {"clusters of 16 KiB, VM state", V3(14, 4, 14000 * KIB),
     "d4 V d3z S V .4 @2d V Z2d S R40000000 @1030d2 V d S", false},
    {"clusters of 16 KiB, backed", V3(14, 4, 300 * KIB, BACKED("@long")), "d2z3Z2 S @3d2", false},
    {"clusters of 2 MiB", V3(21, 4, 16384 * KIB), "dzZ", true},
};
const size_t n_recipes = sizeof(recipes) / sizeof(*recipes);

/* ---- wishes ---------------------------------------------------------------------------------- */

#define DOWN     .set = QB_KEY_COMPAT, .compat = 2
#define UP       .set = QB_KEY_COMPAT, .compat = 3
#define SIZED    .set = QB_KEY_SIZE, .allow_shrink = true
#define WIDTH(n) .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = n
#define ON(name)                                                                                   \
    .set = QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT, .backing_file = name, .backing_fmt = "raw"
#define MENDED(what)   .set = QB_KEY_REPAIR, .repair = (what)
#define DELETED(...)   .set = QB_KEY_SNAPSHOTS, .snapshots_delete = __VA_ARGS__
#define BITMAPS        .set = QB_KEY_BITMAPS
#define RECLAIM        .set = QB_KEY_RECLAIM, .reclaim_free = true
#define ALLOCATED(how) .set = QB_KEY_PREALLOCATION, .preallocation = how
#define STAYS          SIZE_STAYS, false
#define NAMES(...)                                                                                 \
    {                                                                                              \
        (const char *const[]){__VA_ARGS__},                                                        \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)                      \
    }

#define ITEMS(type, ...)                                                                           \
    {                                                                                              \
        (const struct type[]){__VA_ARGS__},                                                        \
            sizeof((const struct type[]){__VA_ARGS__}) / sizeof(struct type)                       \
    }
#define RENAMES(...) ITEMS(qb_bitmap_rename, __VA_ARGS__)
#define ADDS(...)    ITEMS(qb_bitmap_add, __VA_ARGS__)
#define MERGES(...)  ITEMS(qb_bitmap_merge, __VA_ARGS__)
#define THIRD        "bitmap  3"

static const char *const every[] = {"*"}, *const even[] = {"snap number [02468]", "no such"};
#define EVERY_NAME                                                                                 \
    {                                                                                              \
        every, 1                                                                                   \
    }
#define EVEN_NAMES                                                                                 \
    {                                                                                              \
        even, 2                                                                                    \
    }
const struct qb_name_list amends_every_name = EVERY_NAME, amends_even_names = EVEN_NAMES;

const struct wish wishes[] = {
    {"lazy refcounts on", {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true}, SIZE_STAYS, true},
    {"lazy refcounts off", {.set = QB_KEY_LAZY_REFCOUNTS}, STAYS},
    {"up", {UP}, STAYS},
    {"down", {DOWN}, SIZE_STAYS, true},
    {"down without bitmaps", {DOWN, .drop_bitmaps = true}, STAYS},
    {"down, shared zeros", {DOWN, .zero_clusters = QB_ZERO_SHARE}, STAYS},
    {"down, deferred zeros", {DOWN, .zero_clusters = QB_ZERO_DEFER}, STAYS},
    {"down, zeros written", {DOWN, .zero_method = QB_ZEROED_WRITE}, STAYS},
    {"down, zeros reserved", {DOWN, .zero_method = QB_ZEROED_FALLOC}, STAYS},
    {"backing file set", {ON("@short")}, STAYS},
    {"backing file that does not exist", {ON("@other")}, STAYS},
    {"backing file of a long name", {ON("@far")}, STAYS},
    {"backing file removed", {.set = QB_KEY_BACKING_FILE, .backing_file = ""}, STAYS},
    {"backing format", {.set = QB_KEY_BACKING_FMT, .backing_fmt = "raw"}, STAYS},
    {"backing format unsaid", {.set = QB_KEY_BACKING_FMT, .backing_fmt = ""}, STAYS},
    {"grow by a sector", {SIZED}, SIZE_SECTOR_MORE, false},
    {"grow", {SIZED}, SIZE_MORE, true},
    {"grow by many tables", {SIZED}, SIZE_SPANS_MORE, false},
    {"shrink", {SIZED}, SIZE_HALF, true},
    {"shrink to a cluster's end", {SIZED}, SIZE_HALF_ALIGNED, false},
    {"shrink to nothing", {SIZED}, SIZE_NOTHING, false},
    {"refcounts of 1 bit", {WIDTH(1)}, STAYS},
    {"refcounts of 2 bits", {WIDTH(2)}, STAYS},
    {"refcounts of 4 bits", {WIDTH(4)}, STAYS},
    {"refcounts of 8 bits", {WIDTH(8)}, STAYS},
    {"refcounts of 16 bits", {WIDTH(16)}, STAYS},
    {"refcounts of 32 bits", {WIDTH(32)}, STAYS},
    {"refcounts of 64 bits", {WIDTH(64)}, SIZE_STAYS, true},
    {"zstd", {.set = QB_KEY_COMPRESSION_TYPE, .compression_type = "zstd"}, SIZE_STAYS, true},
    {"zlib", {.set = QB_KEY_COMPRESSION_TYPE, .compression_type = "zlib"}, STAYS},
    {"extended L2 entries", {.set = QB_KEY_EXTENDED_L2, .extended_l2 = true}, SIZE_STAYS, true},
    {"no extended L2 entries", {.set = QB_KEY_EXTENDED_L2, .extended_l2 = false}, SIZE_STAYS, true},
    {"up, extended, narrow and larger",
     {.set = QB_KEY_COMPAT | QB_KEY_EXTENDED_L2 | QB_KEY_REFCOUNT_BITS | QB_KEY_SIZE,
      .compat = 3,
      .extended_l2 = true,
      .refcount_bits = 8},
     SIZE_SPANS_MORE,
     false},
    {"extended and smaller",
     {.set = QB_KEY_EXTENDED_L2 | QB_KEY_SIZE, .extended_l2 = true, .allow_shrink = true},
     SIZE_HALF,
     false},
    {"not extended and larger",
     {.set = QB_KEY_EXTENDED_L2 | QB_KEY_SIZE, .extended_l2 = false},
     SIZE_MORE,
     false},
    {"up, zstd, wide and larger",
     {.set = QB_KEY_COMPAT | QB_KEY_COMPRESSION_TYPE | QB_KEY_REFCOUNT_BITS | QB_KEY_SIZE,
      .compat = 3,
      .compression_type = "zstd",
      .refcount_bits = 32},
     SIZE_MORE,
     false},
    {"up, lazy, wide and larger",
     {.set = QB_KEY_COMPAT | QB_KEY_LAZY_REFCOUNTS | QB_KEY_REFCOUNT_BITS | QB_KEY_SIZE,
      .compat = 3,
      .lazy_refcounts = true,
      .refcount_bits = 64},
     SIZE_SPANS_MORE,
     false},
    {"up, narrow, backed",
     {.set = QB_KEY_COMPAT | QB_KEY_REFCOUNT_BITS | QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
      .compat = 3,
      .refcount_bits = 8,
      .backing_file = "@far",
      .backing_fmt = "raw"},
     STAYS},
    {"up and removed",
     {.set = QB_KEY_COMPAT | QB_KEY_BACKING_FILE, .compat = 3, .backing_file = ""},
     STAYS},
    {"down from any width",
     {.set = QB_KEY_COMPAT | QB_KEY_REFCOUNT_BITS, .compat = 2, .refcount_bits = 16},
     STAYS},
    {"down and larger", {.set = QB_KEY_COMPAT | QB_KEY_SIZE, .compat = 2}, SIZE_MORE, false},
    {"down and smaller",
     {.set = QB_KEY_COMPAT | QB_KEY_SIZE, .compat = 2, .allow_shrink = true},
     SIZE_HALF,
     false},
    {"down, width, larger, backed by more",
     {.set = QB_KEY_COMPAT | QB_KEY_SIZE | QB_KEY_REFCOUNT_BITS | QB_KEY_BACKING_FILE |
             QB_KEY_BACKING_FMT,
      .compat = 2,
      .refcount_bits = 16,
      .backing_file = "@long",
      .backing_fmt = "raw"},
     SIZE_SPANS_MORE,
     false},
    {"down and removed",
     {.set = QB_KEY_COMPAT | QB_KEY_BACKING_FILE, .compat = 2, .backing_file = ""},
     STAYS},
    {"smaller, wide, lazy",
     {.set = QB_KEY_SIZE | QB_KEY_REFCOUNT_BITS | QB_KEY_LAZY_REFCOUNTS,
      .allow_shrink = true,
      .refcount_bits = 32,
      .lazy_refcounts = true},
     SIZE_HALF,
     false},
    {"all snapshots deleted", {DELETED(EVERY_NAME)}, STAYS},
    {"every other snapshot deleted", {DELETED(EVEN_NAMES)}, SIZE_STAYS, true},
    {"all snapshots deleted but the newest",
     {DELETED(EVERY_NAME), .snapshots_keep_newest = 1},
     STAYS},
    {"old snapshots deleted",
     {.set = QB_KEY_SNAPSHOTS, .snapshots_older_than = 2.5, .now = 1700000003},
     STAYS},
    {"snapshots deleted, down",
     {.set = QB_KEY_SNAPSHOTS | QB_KEY_COMPAT | QB_KEY_REFCOUNT_BITS,
      .compat = 2,
      .refcount_bits = 16,
      .snapshots_keep_newest = 1},
     STAYS},
    {"snapshots deleted, down, smaller",
     {.set = QB_KEY_SNAPSHOTS | QB_KEY_COMPAT | QB_KEY_SIZE,
      .compat = 2,
      .allow_shrink = true,
      .snapshots_delete = EVERY_NAME},
     SIZE_HALF,
     false},
    {"snapshots deleted, up, larger, narrow",
     {.set = QB_KEY_SNAPSHOTS | QB_KEY_COMPAT | QB_KEY_SIZE | QB_KEY_REFCOUNT_BITS,
      .compat = 3,
      .refcount_bits = 4,
      .snapshots_delete = EVEN_NAMES},
     SIZE_SPANS_MORE,
     false},
    {"preallocated", {ALLOCATED("metadata")}, STAYS},
    {"preallocated, space reserved", {ALLOCATED("falloc")}, STAYS},
    {"preallocated, zeros written", {ALLOCATED("full")}, STAYS},
    {"preallocated, larger",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_SIZE, .preallocation = "metadata"},
     SIZE_SPANS_MORE,
     false},
    {"preallocated, smaller",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_SIZE, .preallocation = "falloc", .allow_shrink = true},
     SIZE_HALF,
     false},
    {"preallocated, larger over a longer backing file",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_SIZE | QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
      .preallocation = "metadata",
      .backing_file = "@long",
      .backing_fmt = "raw"},
     SIZE_MORE,
     false},
    {"preallocated, down and removed",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_COMPAT | QB_KEY_BACKING_FILE,
      .preallocation = "metadata",
      .compat = 2,
      .backing_file = ""},
     STAYS},
    {"preallocated, down, larger, every other snapshot deleted",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_COMPAT | QB_KEY_SIZE | QB_KEY_SNAPSHOTS,
      .preallocation = "full",
      .compat = 2,
      .snapshots_delete = EVEN_NAMES},
     SIZE_MORE,
     false},
    {"preallocated, up, extended, narrow and larger",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_COMPAT | QB_KEY_EXTENDED_L2 | QB_KEY_REFCOUNT_BITS |
             QB_KEY_SIZE,
      .preallocation = "metadata",
      .compat = 3,
      .extended_l2 = true,
      .refcount_bits = 8},
     SIZE_SPANS_MORE,
     false},
    {"preallocated, not extended",
     {.set = QB_KEY_PREALLOCATION | QB_KEY_EXTENDED_L2, .preallocation = "falloc"},
     STAYS},
    {"larger over a longer backing file",
     {.set = QB_KEY_SIZE | QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
      .backing_file = "@long",
      .backing_fmt = "raw"},
     SIZE_MORE,
     false},
    {"space reclaimed", {RECLAIM}, STAYS},
    {"zeros reclaimed", {.set = QB_KEY_RECLAIM, .reclaim_zeros = true}, STAYS},
    {"zeros reclaimed, down",
     {.set = QB_KEY_RECLAIM | QB_KEY_COMPAT,
      .reclaim_zeros = true,
      .compat = 2,
      .drop_bitmaps = true},
     STAYS},
    {"zeros reclaimed, without the backing file, larger",
     {.set = QB_KEY_RECLAIM | QB_KEY_BACKING_FILE | QB_KEY_SIZE,
      .reclaim_zeros = true,
      .backing_file = ""},
     SIZE_MORE,
     false},
    {"compacted", {.set = QB_KEY_RECLAIM, .reclaim_compact = true}, SIZE_STAYS, true},
    {"compacted, down",
     {.set = QB_KEY_RECLAIM | QB_KEY_COMPAT,
      .reclaim_compact = true,
      .compat = 2,
      .drop_bitmaps = true},
     STAYS},
    {"space reclaimed, reserved too", {RECLAIM, .reclaim_reserved = true}, STAYS},
    {"space reclaimed, down and smaller",
     {.set = QB_KEY_RECLAIM | QB_KEY_COMPAT | QB_KEY_SIZE,
      .reclaim_free = true,
      .compat = 2,
      .allow_shrink = true,
      .drop_bitmaps = true},
     SIZE_HALF,
     false},
    {"space reclaimed, up and every other snapshot deleted",
     {.set = QB_KEY_RECLAIM | QB_KEY_COMPAT | QB_KEY_SNAPSHOTS,
      .reclaim_free = true,
      .reclaim_reserved = true,
      .compat = 3,
      .snapshots_delete = EVEN_NAMES},
     STAYS},
    {"bitmaps removed", {BITMAPS, .bitmaps_remove = NAMES("*1", "other*")}, STAYS},
    {"bitmaps removed, all", {BITMAPS, .bitmaps_remove = NAMES("*")}, STAYS},
    {"bitmaps removed, inconsistent ones", {BITMAPS, .bitmaps_remove_inconsistent = true}, STAYS},
    {"down without bitmaps that are removed",
     {.set = QB_KEY_COMPAT | QB_KEY_BITMAPS, .compat = 2, .bitmaps_remove = NAMES("*")},
     STAYS},
    {"bitmaps cleared", {BITMAPS, .bitmaps_clear = NAMES("*[12]")}, STAYS},
    {"bitmaps enabled and disabled",
     {BITMAPS, .bitmaps_enable = NAMES("*"), .bitmaps_disable = NAMES("*2")},
     STAYS},
    {"bitmaps removed and cleared, larger",
     {.set = QB_KEY_BITMAPS | QB_KEY_SIZE,
      .bitmaps_remove = NAMES("*3"),
      .bitmaps_clear = NAMES("*1")},
     SIZE_SPANS_MORE,
     false},
    {"bitmaps enabled, smaller",
     {.set = QB_KEY_BITMAPS | QB_KEY_SIZE, .allow_shrink = true, .bitmaps_enable = NAMES("*1")},
     SIZE_HALF,
     false},
    {"all mended", {MENDED(15)}, STAYS},
    {"leaks mended", {MENDED(QB_REPAIR_LEAKS)}, STAYS},
    {"refcounts and flags mended", {MENDED(QB_REPAIR_REFCOUNTS | QB_REPAIR_FLAGS)}, STAYS},
    {"all mended, down",
     {.set = QB_KEY_REPAIR | QB_KEY_COMPAT, .repair = 15, .compat = 2, .drop_bitmaps = true},
     STAYS},
    {"all mended, wide, lazy, larger",
     {.set = QB_KEY_REPAIR | QB_KEY_REFCOUNT_BITS | QB_KEY_LAZY_REFCOUNTS | QB_KEY_SIZE,
      .repair = 15,
      .refcount_bits = 64,
      .lazy_refcounts = true},
     SIZE_SPANS_MORE,
     false},
    {"bitmaps removed, wide, lazy, backed",
     {.set = QB_KEY_BITMAPS | QB_KEY_REFCOUNT_BITS | QB_KEY_LAZY_REFCOUNTS | QB_KEY_BACKING_FILE,
      .bitmaps_remove = NAMES("*[23]"),
      .refcount_bits = 64,
      .lazy_refcounts = true,
      .backing_file = "@far"},
     STAYS},
    {"bitmap renamed", {BITMAPS, .bitmaps_rename = RENAMES({FIRST, "first"})}, STAYS},
    {"bitmaps added",
     {BITMAPS, .bitmaps_add = ADDS({"fine", 512, false}, {"coarse", 65536, true})},
     STAYS},
    {"up, bitmaps removed and added, larger",
     {.set = QB_KEY_COMPAT | QB_KEY_BITMAPS | QB_KEY_SIZE,
      .compat = 3,
      .bitmaps_remove = NAMES(FIRST),
      .bitmaps_add = ADDS({"again", 4096, true}),
      .bitmaps_enable = NAMES("*")},
     SIZE_SPANS_MORE,
     false},
    {"bitmap merged", {BITMAPS, .bitmaps_merge = MERGES({NAMES(FIRST), SECOND})}, STAYS},
    {"bitmaps merged through others, larger",
     {.set = QB_KEY_BITMAPS | QB_KEY_SIZE,
      .bitmaps_rename = RENAMES({FIRST, "first"}),
      .bitmaps_add = ADDS({"coarse", 65536, false}, {"middle", 2048, true}, {"none", 512, true}),
      .bitmaps_merge = MERGES({NAMES(SECOND), "middle"}, {NAMES("first", "middle"), "coarse"},
                              {NAMES("coarse", "none"), "none"}, {NAMES("middle"), SECOND}),
      .bitmaps_clear = NAMES("middle")},
     SIZE_MORE,
     false},
    {"bitmaps merged, smaller, wide",
     {.set = QB_KEY_BITMAPS | QB_KEY_SIZE | QB_KEY_REFCOUNT_BITS,
      .allow_shrink = true,
      .refcount_bits = 64,
      .bitmaps_add = ADDS({"coarse", 4096, false}),
      .bitmaps_merge = MERGES({NAMES(SECOND, FIRST), "coarse"}, {NAMES("coarse"), FIRST}),
      .bitmaps_disable = NAMES("*")},
     SIZE_HALF,
     false},
};
const size_t n_wishes = sizeof(wishes) / sizeof(*wishes);

/* ---- backing files --------------------------------------------------------------------------- */

static char folder[64], far_name[FAR_NAME + 1];
static char short_name[128], long_name[128], image_name[128], other_name[128];
static uint8_t short_bytes[SHORT_BYTES], long_bytes[LONG_BYTES];
static struct reading image_reading;

/* Different in every sector, and zero in every fourth stretch of 4 KiB. */
static void fill_raw(uint8_t *bytes, uint32_t n, uint32_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        bytes[i] = i / 4096 % 4 == 2 ? 0 : (uint8_t)((i * 2654435761u + seed) >> 13 | 1);
}

static const char *make_file(char *path, size_t room, const char *name, const void *bytes, size_t n)
{
    int fd;

    snprintf(path, room, "%s/%s", folder, name);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        abort();
    close(fd);
    return path;
}

void amends_begin(void)
{
    static const struct image_shape shape = V3(10, 4, 200 * KIB);
    struct image_bytes image = image_make(&shape, "d9z9c9 @50d9");

    strcpy(folder, "/tmp/qbatch-amends-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    fill_raw(short_bytes, SHORT_BYTES, 1);
    fill_raw(long_bytes, LONG_BYTES, 7);
    make_file(short_name, sizeof(short_name), "short", short_bytes, SHORT_BYTES);
    make_file(long_name, sizeof(long_name), "long", long_bytes, LONG_BYTES);
    make_file(image_name, sizeof(image_name), "image", image.bytes, image.size);
    snprintf(other_name, sizeof(other_name), "%s/other", folder);
    memset(far_name, 'f', FAR_NAME);
    memcpy(far_name, "/nowhere/", 9);
    reading_take(image.bytes, image.size, NULL, &image_reading);
    reading_backing(short_name, short_bytes, SHORT_BYTES);
    reading_backing(long_name, long_bytes, LONG_BYTES);
    reading_backing_image(image_name, &image_reading);
    image_bytes_free(&image);
}

void amends_end(void)
{
    unlink(short_name);
    unlink(long_name);
    unlink(image_name);
    rmdir(folder);
    reading_forget_backings();
    reading_free(&image_reading);
}

const char *amends_folder(void)
{
    return folder;
}

const char *amends_name(const char *name)
{
    static const struct {
        const char *sign, *path;
    } names[] = {{"@short", short_name},
                 {"@long", long_name},
                 {"@image", image_name},
                 {"@other", other_name},
                 {"@far", far_name}};

    for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(name, names[i].sign) == 0)
            return names[i].path;
    return name;
}

/* ---- subjects -------------------------------------------------------------------------------- */

uint64_t amends_new_size(const struct image_shape *s, uint64_t size, enum size_rule rule)
{
    uint64_t cs = 1ull << s->cluster_bits;

    switch (rule) {
    case SIZE_SECTOR_MORE:
        return (size / 512 + 1) * 512;
    case SIZE_MORE:
        return qb_round_up(size, 512) + 2 * cs + 512;
    case SIZE_SPANS_MORE:
        if (s->data_file) /* all of it is there, in each state */
            return qb_round_up(size, 512) + (cs <= 1024 ? 8 * image_l1_span(s) : 200ull * KIB);
        return qb_round_up(size, 512) + (cs <= 1024 ? 80 * image_l1_span(s) : 3072ull * KIB);
    case SIZE_HALF:
        return cs > 512 ? size / 2 / cs * cs + cs / 2 : size / 2 / 512 * 512;
    case SIZE_HALF_ALIGNED:
        return size / 2 / cs * cs;
    default:
        return 0;
    }
}

/* The size that the image really has: scripts may change it. */
uint64_t amends_size_in(const struct image_bytes *image)
{
    uint64_t v = 0;

    for (unsigned i = 24; i < 32; i++)
        v = v << 8 | image->bytes[i];
    return v;
}

void amends_fill_small_only(struct qb_request *rq, uint64_t size)
{
    if (rq->set & QB_KEY_SIZE)
        size = rq->size;
    if (rq->set & QB_KEY_PREALLOCATION && size > MOST_FILLED)
        rq->preallocation = "off";
}

struct subject subject_of(const struct recipe *r, const struct wish *w)
{
    struct image_shape shape = r->shape;
    struct subject s = {.heavy = r->heavy, .rq = w->rq};

    snprintf(s.name, sizeof(s.name), "%s: %s", r->name, w->name);
    shape.backing_file = amends_name(shape.backing_file);
    s.image = image_make(&shape, r->script);
    s.rq.backing_file = amends_name(s.rq.backing_file);
    /* Recipes leak tables; and what a cut left of an append is counted where refcounts were higher.
     */
    s.rq.free_lost_tables = true;
    s.rq.size = amends_new_size(&shape, amends_size_in(&s.image), w->size);
    s.rq.verify = shape.data_file ? QB_VERIFY_CONTENT : QB_VERIFY_METADATA;
    amends_fill_small_only(&s.rq, amends_size_in(&s.image));
    return s;
}

void subject_free(struct subject *s)
{
    image_bytes_free(&s->image);
}
