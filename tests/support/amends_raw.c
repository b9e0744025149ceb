/* Random raw disks, and requests to make images of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amends.h"
#include "dice.h"
#include "must.h"
#include "raw_disks.h"

#define KIB 1024u

enum { LIKE_AN_IMAGE = 24, LARGE = 30 }; /* one of so many is */

static const struct qb_bitmap_add bitmaps[] = {{"day", 512, false}, {"night", 65536, true}};

/* Its length is any; every so often a whole number of clusters. */
static uint64_t random_length(struct dice *d, uint64_t cluster_size, bool small, bool *large)
{
    static const unsigned most[] = {1, 600, 8 * KIB, 60 * KIB};
    unsigned below = most[roll(d, small ? 2 : 4)];

    *large = !small && roll(d, LARGE) == 0;
    if (*large)
        return 1 + roll(d, 3072 * KIB);
    if (roll(d, 4) == 0)
        return cluster_size * (1 + roll(d, (unsigned)(below / cluster_size) + 1));
    return 1 + roll(d, below);
}

/* Stretches of data and of zeros, which may begin and end anywhere. */
static void fill(struct dice *d, struct image_bytes *raw)
{
    uint64_t end;

    for (uint64_t at = 0; at < raw->size; at = end) {
        bool zero = roll(d, 2);
        unsigned unit = roll(d, 2) ? 4096 : 1 + roll(d, 5000);

        end = at + (uint64_t)unit * (1 + roll(d, raw->size > 64 * KIB ? 40 : 4));
        end = end < raw->size ? end : raw->size;
        for (uint64_t i = at; i < end; i++)
            raw->bytes[i] = zero ? 0 : (uint8_t)(1 + roll(d, 255));
    }
    if (raw->bytes[0] == 'Q') /* so that the header's first byte always differs */
        raw->bytes[0] = 'R';
    if (roll(d, LIKE_AN_IMAGE) == 0 && raw->size >= RAW_SECTOR)
        memcpy(raw->bytes, "QFI\xfb\0\0\0\3", 8);
}

/* The disk, whole clusters, and old bytes past it, which have room for the tables, or nearly. */
static void make_device(struct dice *d, struct subject *s)
{
    struct qb_request *rq = &s->rq;
    uint64_t cs = rq->cluster_size, disk = (s->image.size + cs - 1) / cs * cs,
             size =
                 disk + (roll(d, 6) ? 64 + disk / cs / 32 : roll(d, 6)) * cs + 512ull * roll(d, 8);

    s->image.bytes = must(realloc(s->image.bytes, size));
    for (uint64_t i = s->image.size; i < size; i++)
        s->image.bytes[i] = (uint8_t)(1 + roll(d, 255));
    s->image.size = size;
    s->image.device = true;
    s->image.reserved = s->image.holes = false;
    rq->set |= QB_KEY_SIZE;
    rq->size = disk;
    rq->allow_shrink = true;
}

static void ask_for_more(struct dice *d, struct qb_request *rq, uint64_t length)
{
    rq->keep_undo = roll(d, 3) == 0 && !(rq->set & QB_KEY_SIZE); /* of devices it is refused */
    rq->verify = roll(d, 2) ? QB_VERIFY_CONTENT : QB_VERIFY_METADATA;
    if (!(rq->set & QB_KEY_SIZE) && roll(d, 3) == 0) {
        rq->set |= QB_KEY_SIZE;
        rq->size = raw_sectors(length) + RAW_SECTOR * roll(d, 400);
    }
    if (roll(d, 4) == 0) {
        rq->set |= QB_KEY_COMPAT;
        rq->compat = 2;
        return;
    }
    if (roll(d, 3) == 0) {
        rq->set |= QB_KEY_REFCOUNT_BITS;
        rq->refcount_bits = 1u << roll(d, 7);
    }
    if (roll(d, 4) == 0) {
        rq->set |= QB_KEY_LAZY_REFCOUNTS;
        rq->lazy_refcounts = true;
    }
    if (rq->cluster_size >= 16 * KIB && roll(d, 2)) {
        rq->set |= QB_KEY_EXTENDED_L2;
        rq->extended_l2 = true;
    }
    if (roll(d, 4) == 0) {
        rq->set |= QB_KEY_COMPRESSION_TYPE;
        rq->compression_type = roll(d, 2) ? "zstd" : "zlib";
    }
    if (roll(d, 4) == 0) {
        rq->set |= QB_KEY_BITMAPS;
        rq->bitmaps_add.items = bitmaps;
        rq->bitmaps_add.n = 1 + roll(d, 2);
    }
}

struct subject subject_raw(uint64_t seed, bool small)
{
    struct dice d = dice_of(seed + 0x524157);
    struct subject s = {.rq = {.set = QB_KEY_CONVERT | QB_KEY_CLUSTER_SIZE, RAW_CONVERT}};
    unsigned bits = 9 + roll(&d, 8);
    uint64_t length;

    s.rq.cluster_size = UINT64_C(1) << (small && bits > 12 ? bits - 4 : bits);
    length = random_length(&d, s.rq.cluster_size, small, &s.heavy);
    if (s.heavy && s.rq.cluster_size < 4096)
        s.rq.cluster_size *= 512;
    s.image.size = length;
    s.image.bytes = must(malloc(length));
    s.image.holes = roll(&d, 2);
    s.image.reserved = roll(&d, 4) == 0;
    fill(&d, &s.image);
    if (roll(&d, 4) == 0)
        make_device(&d, &s);
    ask_for_more(&d, &s.rq, length);
    snprintf(s.name, sizeof(s.name), "raw disk of %llu bytes%s%s%s, seed %llu",
             (unsigned long long)length, s.image.holes ? ", holes" : "",
             s.image.reserved ? ", reserved" : "", s.image.device ? ", device" : "",
             (unsigned long long)seed);
    return s;
}

/* ---- what it is, and shall be ---------------------------------------------------------------- */

struct image_bytes subject_raw_disk(const struct subject *s)
{
    struct image_bytes disk = {.bytes = s->image.bytes, .size = s->image.size};
    uint64_t size = s->image.device ? s->rq.size : s->rq.convert_length;

    if (size && size < disk.size)
        disk.size = size;
    return disk;
}
