/* Images with an external data file, and what only these are asked for. */
#include "amends.h"
#include "recipes.h"

#define DATA .data_file = DATA_NAME
#define JUNK DATA, .data_junk = true
#define RAW  DATA, .data_raw = true

/* A disk that ends in a cluster of the data file with subclusters of several sorts: 1 KiB each, of
 * which 4 to 7 are zero, 8 to 11 allocated, and 12 to 15 unallocated. */
#define ENDS(bytes, ...) V3(15, 4, 160 * KIB + (bytes), JUNK, .extended_l2 = true, __VA_ARGS__)

const struct recipe data_recipes[] = {
    {"data file", V3(9, 4, 64 * KIB, DATA), "d5 @20z3Z4.d @70d3z2 @100Z3d25", false},
    {"data file full of junk", V3(9, 4, 64 * KIB, JUNK, .data_tail = 60000),
     "@1d5 @20z3Z4.d @70d3z2 @100Z3", false},
    {"data file that is short", V3(9, 4, 64 * KIB, DATA, .data_cut = 20000), "d5 @80d10z3", false},
    {"data file without a disk", V3(9, 4, 0, JUNK, .data_tail = 3000), "", false},
    {"raw data file", V3(9, 4, 64 * KIB, RAW), "d5 @20z3Z4.d @70d3z2 @100Z3d2", false},
    {"raw data file, junk past the disk",
     V3(9, 4, 64 * KIB, RAW, .data_tail = 60000, .data_tail_junk = true), "d5 @20z3Z4.d @120d8",
     false},
    {"raw data file, size in the middle of a sector",
     V3(12, 4, 50001, RAW, .data_tail = 9000, .data_tail_junk = true), "@4d9Z2z2", false},
    {"data file, size in the middle of a cluster",
     V3(12, 4, 100 * KIB + 512, JUNK, .data_tail = 3584), "d26 @3Z2z2", false},
    {"data file, backed by less", V3(9, 4, 64 * KIB, JUNK, BACKED("@short")),
     "@12d5z9Z9 @100zZ @75.9", false},
    {"data file, backed by more", V3(9, 4, 64 * KIB, JUNK, .data_tail = 30000, BACKED("@long")),
     "d5z9Z9 @3Z4z3 @100zZ", false},
    {"data file, backed, size in a cluster",
     V3(12, 4, 33 * KIB, JUNK, .data_tail = 8000, BACKED("@long")), "zZ@4d", false},
    {"data file, backed, size in a cluster, data",
     V3(12, 4, 33 * KIB, JUNK, .data_tail = 8000, BACKED("@long")), "zZ@4d5", false},
    {"data file, many tables", V3(9, 4, 500 * KIB, DATA, .data_tail = 512),
     "d@70d@140d@210d@280z@350z@420Z@490d@560d@630d@800d@0z@70Z@140z", false},
    {"data file, refcounts of 1 bit", V3(9, 0, 64 * KIB, JUNK), "d5z3Z3 H2L3 d3", false},
    {"data file, dirty", V3(9, 4, 64 * KIB, JUNK, .dirty = true, .lazy_refcounts = true),
     "d30Z3z2 @70d9", false},
    {"raw data file, wrong counts, marked",
     V3(9, 4, 64 * KIB, RAW, .wrong_counts = true, .marked = true), "d9Z3z2 @70d9 L3", false},
    {"data file, bitmaps", V3(9, 4, 64 * KIB, DATA, .bitmaps = 3), "d9 @5Z9z2", false},
    {"raw data file, as QEMU makes it", V3(16, 4, 256 * KIB, RAW, .feature_names = true), "d2zZ",
     false},
    {"data file, extended L2 entries",
     V3(14, 4, 200 * KIB + 512, JUNK, .data_tail = 40000, .extended_l2 = true, BACKED("@long")),
     "d2p3z2 @3d2p2 @8pZi @12d", false},
    {"data file, extended L2 entries, partial at the end",
     V3(14, 4, 200 * KIB + 512, JUNK, .extended_l2 = true, BACKED("@short")), "d2p3z2 @12p", false},
    {"data file, ends in an unallocated subcluster",
     ENDS(12 * KIB + 512, .data_tail = 70000, BACKED("@long")), "dpz2 @5p", false},
    {"data file, ends between unallocated subclusters", ENDS(13 * KIB, BACKED("@long")), "p3 @5p",
     false},
    {"data file, ends in an allocated subcluster",
     ENDS(9 * KIB + 512, .data_tail = 3000, BACKED("@long")), "p2z @5p", false},
    {"data file, ends in a zero subcluster", ENDS(5 * KIB + 512, BACKED("@long")), "p2d @5p",
     false},
    {"data file, ends in the middle of a sector", ENDS(14 * KIB + 100, BACKED("@long")), "@5p",
     false},
    {"data file that is short, ends in an unallocated subcluster",
     ENDS(12 * KIB + 512, .data_cut = 40000, BACKED("@long")), "dp @5p", false},
    {"data file, ends in a cluster of which nothing is used",
     ENDS(12 * KIB + 512, .data_tail = 30000, BACKED("@long")), "di2 @5i", false},
    {"data file, ends in an unallocated subcluster, backed by less",
     ENDS(12 * KIB + 512, BACKED("@short")), "dpz2 @5p", false},
    {"data file, ends in an unallocated subcluster, not backed", ENDS(12 * KIB + 512), "dpz2 @5p",
     false},
    {"raw data file, ends in an unallocated subcluster",
     V3(15, 4, 172 * KIB + 512, RAW, .data_tail = 3000, .extended_l2 = true), "dpz2 @5p", false},
    {"raw data file, extended L2 entries", V3(14, 4, 200 * KIB + 512, RAW, .extended_l2 = true),
     "Zd2z2 @8Zi @12d", false},
};
const size_t n_data_recipes = sizeof(data_recipes) / sizeof(*data_recipes);

#define OTHER_NAME "/nowhere/other.raw"

const struct wish data_wishes[] = {
    {"data file renamed", {.set = QB_KEY_DATA_FILE, .data_file = OTHER_NAME}, SIZE_STAYS, false},
    {"data file raw", {.set = QB_KEY_DATA_FILE_RAW, .data_file_raw = true}, SIZE_STAYS, false},
    {"data file not raw", {.set = QB_KEY_DATA_FILE_RAW}, SIZE_STAYS, false},
    {"data file raw, larger",
     {.set = QB_KEY_DATA_FILE_RAW | QB_KEY_SIZE, .data_file_raw = true},
     SIZE_MORE,
     false},
    {"data file raw, smaller",
     {.set = QB_KEY_DATA_FILE_RAW | QB_KEY_SIZE, .data_file_raw = true, .allow_shrink = true},
     SIZE_HALF,
     false},
    {"data file not raw, backed, wide, larger",
     {.set = QB_KEY_DATA_FILE_RAW | QB_KEY_REFCOUNT_BITS | QB_KEY_BACKING_FILE | QB_KEY_SIZE,
      .refcount_bits = 64,
      .backing_file = "@short"},
     SIZE_SPANS_MORE,
     false},
    {"data file renamed, larger, lazy",
     {.set = QB_KEY_DATA_FILE | QB_KEY_LAZY_REFCOUNTS | QB_KEY_SIZE,
      .data_file = OTHER_NAME,
      .lazy_refcounts = true},
     SIZE_SECTOR_MORE,
     false},
};
const size_t n_data_wishes = sizeof(data_wishes) / sizeof(*data_wishes);
