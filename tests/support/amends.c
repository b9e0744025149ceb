#include "amends.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "check/census.h"
#include "dice.h"
#include "io/backend.h"

#define KIB         1024u
#define SHORT_BYTES (40 * KIB + 100)
#define LONG_BYTES  (300 * KIB)
#define FAR_NAME    300u

/* ---- images ---------------------------------------------------------------------------------- */

#define V3(bits, order, bytes, ...)                                                                \
    {                                                                                              \
        .version = 3, .cluster_bits = bits, .refcount_order = order, .size = bytes, __VA_ARGS__    \
    }
#define V2(bits, bytes, ...)                                                                       \
    {                                                                                              \
        .version = 2, .cluster_bits = bits, .refcount_order = 4, .size = bytes, __VA_ARGS__        \
    }
#define BACKED(name) .backing_file = name, .backing_fmt = "raw"

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
#define STAYS SIZE_STAYS, false

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
    {"larger over a longer backing file",
     {.set = QB_KEY_SIZE | QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
      .backing_file = "@long",
      .backing_fmt = "raw"},
     SIZE_MORE,
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

static uint64_t new_size(const struct image_shape *s, uint64_t size, enum size_rule rule)
{
    uint64_t cs = 1ull << s->cluster_bits;

    switch (rule) {
    case SIZE_SECTOR_MORE:
        return (size / 512 + 1) * 512;
    case SIZE_MORE:
        return qb_round_up(size, 512) + 2 * cs + 512;
    case SIZE_SPANS_MORE:
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
static uint64_t size_in(const struct image_bytes *image)
{
    uint64_t v = 0;

    for (unsigned i = 24; i < 32; i++)
        v = v << 8 | image->bytes[i];
    return v;
}

struct subject subject_of(const struct recipe *r, const struct wish *w)
{
    struct image_shape shape = r->shape;
    struct subject s = {.heavy = r->heavy, .rq = w->rq};

    snprintf(s.name, sizeof(s.name), "%s: %s", r->name, w->name);
    shape.backing_file = amends_name(shape.backing_file);
    s.image = image_make(&shape, r->script);
    s.rq.backing_file = amends_name(s.rq.backing_file);
    s.rq.size = new_size(&shape, size_in(&s.image), w->size);
    s.rq.verify = QB_VERIFY_METADATA;
    return s;
}

void subject_free(struct subject *s)
{
    image_bytes_free(&s->image);
}

/* ---- random subjects ------------------------------------------------------------------------- */

static void say(char *script, size_t room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void say(char *script, size_t room, const char *fmt, ...)
{
    size_t used = strlen(script);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(script + used, room - used, fmt, ap);
    va_end(ap);
}

/* What counts of this width can stand: snapshots, and compressed clusters that share a cluster. */
static void random_script(struct dice *d, const struct image_shape *s, char *script, size_t room)
{
    unsigned clusters = (unsigned)(s->size >> s->cluster_bits) + 1;
    unsigned words = s->cluster_bits > 16 ? 1 + roll(d, 5) : 4 + roll(d, 14);
    static const unsigned snapshots_of[] = {0, 1, 3, 4, 5, 5, 5};
    unsigned snapshots = snapshots_of[s->refcount_order], most = s->cluster_bits > 16   ? 1
                                                                 : s->cluster_bits > 12 ? 3
                                                                                        : 9;
    unsigned there = 0;
    const char *cells = s->version == 2 ? "ddc." : s->refcount_order < 3 ? "ddzZ." : "ddczZ.";

    for (unsigned i = 0; i < words; i++) {
        unsigned what = roll(d, 13), n = 1 + roll(d, most);

        if (what == 0 && snapshots) {
            snapshots--;
            there++;
            say(script, room, "S");
        } else if (what == 12 && there) {
            say(script, room, "A%u", 1 + roll(d, there));
        } else if (what == 11 && there && roll(d, 2)) {
            say(script, room, "X%u", 1 + roll(d, there--));
        } else if (what == 1) {
            say(script, room, "%c%u", roll(d, 2) ? 'L' : 'H', n);
        } else if (what == 2 && roll(d, 2) && s->size) {
            say(script, room, "V%c%u", cells[roll(d, (unsigned)strlen(cells))], 1 + n % 3);
        } else {
            unsigned at = roll(d, clusters);

            n = QB_MIN(n, clusters - 1 > at ? clusters - 1 - at : 0);
            if (n)
                say(script, room, "@%u%c%u", at, cells[roll(d, (unsigned)strlen(cells))], n);
        }
    }
}

/* Large clusters: few of them, since each is written and read many times. */
static void enlarge(struct dice *d, struct image_shape *s)
{
    s->cluster_bits = 15 + roll(d, 7);
    s->size = (uint64_t)roll(d, 6) << s->cluster_bits;
    if (roll(d, 2))
        s->size += 512ull * roll(d, 1u << (s->cluster_bits - 9));
    s->l1_spare = 0;
    s->snapshot_extra = 0;
    s->tail_bytes = 0;
}

static struct image_shape random_shape(struct dice *d)
{
    static const unsigned bits[] = {9, 9, 9, 9, 10, 10, 11, 12, 12, 13, 14, 16};
    static const unsigned extras[] = {IMAGE_NO_EXTRA, 8, 16, 24, 24, 0};
    static const char *const names[] = {"@short", "@long", "@image", "@long"};
    struct image_shape s = {.version = roll(d, 4) ? 3 : 2, .cluster_bits = bits[roll(d, 12)]};
    bool v3 = s.version == 3;
    unsigned backing = roll(d, 8);

    s.refcount_order = v3 && roll(d, 3) == 0 ? roll(d, 7) : 4;
    s.size = roll(d, 40) * 512ull << (s.cluster_bits - 8);
    if (roll(d, 3) == 0)
        s.size += 512ull * roll(d, 1u << (s.cluster_bits - 9));
    s.l1_spare = roll(d, 6) ? 0 : roll(d, 9);
    s.snapshot_extra = extras[roll(d, 6)];
    s.lazy_refcounts = v3 && roll(d, 4) == 0;
    s.feature_names = v3 && (1u << s.cluster_bits) >= 1024 && roll(d, 2);
    s.header_length = roll(d, 5) ? 0 : 104;
    s.unknown_ext = roll(d, 8) ? 0 : 1 + roll(d, 60);
    s.dirty = v3 && roll(d, 5) == 0;
    s.tail_bytes = roll(d, 6) ? 0 : 1 + roll(d, 9000);
    s.counts_behind = roll(d, 12) == 0;
    s.lost_snapshots = roll(d, 8) == 0;
    if (backing < 4) {
        s.backing_file = names[backing];
        s.backing_fmt = backing == 2 ? "qcow2" : "raw";
    } else if (backing == 4 && s.size % 512 == 0) {
        s.size += roll(d, 512);
    }
    return s;
}

static struct qb_request random_request(struct dice *d, const struct image_shape *s, uint64_t size)
{
    static const char *const names[] = {"@short", "@long", "@image", "@other", "@far", "", ""};
    static const enum size_rule rules[] = {SIZE_SECTOR_MORE,  SIZE_MORE, SIZE_SPANS_MORE,
                                           SIZE_HALF_ALIGNED, SIZE_HALF, SIZE_MORE};
    struct qb_request rq = {.verify = QB_VERIFY_CONTENT, .allow_shrink = true};
    unsigned compat = roll(d, 4), to = s->version;

    if (compat < 3) {
        rq.set |= QB_KEY_COMPAT;
        rq.compat = to = compat == 0 ? 3 : 2;
    }
    if (to == 2 && s->refcount_order != 4) {
        rq.set |= QB_KEY_REFCOUNT_BITS;
        rq.refcount_bits = 16;
    } else if (to == 3 && roll(d, 3) == 0) {
        rq.set |= QB_KEY_REFCOUNT_BITS;
        rq.refcount_bits = 1u << (roll(d, 4) ? 3 + roll(d, 4) : roll(d, 7));
    }
    if (to == 3 && roll(d, 3) == 0) {
        rq.set |= QB_KEY_LAZY_REFCOUNTS;
        rq.lazy_refcounts = roll(d, 2);
    }
    if (roll(d, 3) == 0) {
        rq.set |= QB_KEY_SIZE;
        rq.size = new_size(s, size, rules[roll(d, 6)]);
    }
    if (roll(d, 3) == 0) {
        const char *name = names[roll(d, 7)];

        if (size % 512 && strcmp(name, "@image") == 0)
            name = "@long"; /* reading.c knows whole sectors of it only */
        rq.set |= QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT;
        rq.backing_file = amends_name(name);
        rq.backing_fmt = !name[0] ? "" : strcmp(name, "@image") == 0 ? "qcow2" : "raw";
    }
    rq.zero_clusters = (enum qb_zero_clusters)roll(d, 3);
    rq.zero_method = (enum qb_zero_method)roll(d, 4);
    rq.on_leaks = roll(d, 4) ? QB_LEAKS_KEEP : QB_LEAKS_FREE;
    return rq;
}

static struct subject subject_drawn(struct dice *d, struct image_shape *shape, uint64_t seed)
{
    struct subject s = {.heavy = shape->cluster_bits > 16};
    char script[512] = "";

    random_script(d, shape, script, sizeof(script));
    shape->backing_file = amends_name(shape->backing_file);
    snprintf(s.name, sizeof(s.name), "random %llu", (unsigned long long)seed);
    s.image = image_make(shape, script);
    s.rq = random_request(d, shape, size_in(&s.image));
    s.image.reserved = roll(d, 3) == 0;
    return s;
}

struct subject subject_random(uint64_t seed)
{
    struct dice d = dice_of(seed);
    struct image_shape shape = random_shape(&d);

    return subject_drawn(&d, &shape, seed);
}

struct subject subject_any(uint64_t seed, bool small)
{
    struct dice d = dice_of(~seed);
    struct image_shape shape = random_shape(&d);
    struct subject s;

    if (small) {
        shape.size = (shape.size >> (shape.cluster_bits - 9)) / 512 * 512;
        shape.cluster_bits = 9;
        shape.feature_names = false; /* no room */
    } else if (roll(&d, 60) == 0) {
        enlarge(&d, &shape);
    }
    shape.bitmaps = roll(&d, 8) ? 0 : 1 + roll(&d, 3);
    s = subject_drawn(&d, &shape, seed);
    s.rq.drop_bitmaps = roll(&d, 2);
    return s;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Images in memory, backing files on the real disk. */
struct mixed_io {
    struct qb_io io;
    struct qb_io *mem;
};

static void mixed_run(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    struct mixed_io *m = (struct mixed_io *)io;

    for (size_t i = 0; i < n; i++) {
        if (reqs[i].file->mem)
            m->mem->ops->run(m->mem, &reqs[i], 1);
        else if (!qb_req_is_void(&reqs[i]))
            reqs[i].error = reqs[i].op == QB_OP_READ ? qb_posix_do(&reqs[i], 0) : EPERM;
    }
}

static int mixed_barrier(struct qb_io *io)
{
    struct mixed_io *m = (struct mixed_io *)io;

    return m->mem->ops->barrier(m->mem);
}

static void mixed_close(struct qb_io *io)
{
    qb_io_close(((struct mixed_io *)io)->mem);
    free(io);
}

struct qb_io *run_io(struct qb_mem_log *log)
{
    static const struct qb_io_ops ops = {"mixed", mixed_run, mixed_barrier, mixed_close};
    struct mixed_io *m = calloc(1, sizeof(*m));

    if (!m)
        abort();
    m->io.ops = &ops;
    m->mem = qb_io_open_mem(log);
    if (!m->mem)
        abort();
    return &m->io;
}

struct qb_mem_log *run_machine(const uint8_t *bytes, uint64_t size, bool reserved)
{
    struct qb_mem_log *log = qb_mem_log_new();
    struct qb_file file;

    if (!log || qb_mem_file(log, bytes, size, &file) < 0)
        abort();
    qb_file_close(&file);
    if (reserved)
        qb_mem_reserve(log, 0);
    return log;
}

struct qb_amend *run_open(struct qb_io *io, struct qb_mem_log *log, unsigned disk)
{
    struct qb_amend *a = qb_amend_new("/nowhere/image.qcow2");
    struct qb_file file;

    if (!a || qb_mem_reopen(log, disk, &file) < 0)
        abort();
    qb_amend_open(a, io, (struct qb_claim){.writable = true}, &file);
    return a;
}

int run_barrier(struct qb_io *io, struct qb_amend *a)
{
    struct qb_file *file = qb_amend_file(a);
    int errnum = 0;

    qb_io_barrier(io, &file, 1, QB_SYNC_FILE, &errnum);
    return errnum;
}

static int run_phases(struct qb_io *io, struct qb_amend *a, enum run_option how)
{
    int lost = 0;

    if (qb_amend_remember(a, io) < 0 || qb_amend_append(a, io) < 0)
        return -1;
    if (qb_amend_appends(a) && how == RUN_WHOLE)
        lost = run_barrier(io, a);
    if (lost) {
        qb_amend_append_lost(a, io, lost);
        return -1;
    }
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, run_barrier(io, a)) < 0)
        return -1;
    if (qb_amend_verify(a, io) < 0)
        return -1;
    qb_amend_settle(a, io);
    return 0;
}

struct run run_amend(struct qb_mem_log *log, unsigned disk, const struct qb_request *rq,
                     enum run_option how)
{
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, disk);
    struct run r = {.rc = qb_amend_result(a)->status == QB_STATUS_FAILED ? -1 : 0};

    if (r.rc == 0)
        r.rc = qb_amend_plan(a, io, rq);
    if (r.rc == 0 && qb_amend_result(a)->status == QB_STATUS_WOULD_CHANGE) {
        r.appends = qb_amend_appends(a);
        r.rc = run_phases(io, a, how);
    }
    r.result = qb_amend_take_result(a);
    qb_amend_close(a);
    qb_io_close(io);
    return r;
}

void run_free(struct run *r)
{
    qb_result_clear(&r->result);
}

bool run_census(const uint8_t *bytes, uint64_t size, uint64_t *corruptions, uint64_t *leaks,
                char *why, size_t room)
{
    struct qb_mem_log *log = run_machine(bytes, size, false);
    struct qb_io *io = run_io(log);
    struct qb_census c = {0};
    struct qb_image img = {0};
    struct qb_file file;
    struct qb_err err;
    bool ok;

    if (qb_mem_reopen(log, 0, &file) < 0)
        abort();
    ok = qb_image_open(io, &file, &img, &err) == 0;
    if (ok) {
        ok = qb_image_read_snapshots(io, &img, &err) == 0 &&
             qb_census_take(io, &img, 0, NULL, NULL, &c, &err) == 0;
        *corruptions = qb_census_corruptions(&c);
        *leaks = c.n_leaks;
        snprintf(why, room, "%s", ok ? c.first.code ? c.first.text : "" : err.text);
        qb_census_free(&c);
        qb_image_close(&img);
    } else {
        snprintf(why, room, "%s", err.text);
    }
    qb_file_close(&file);
    qb_io_close(io);
    qb_mem_log_free(log);
    return ok;
}
