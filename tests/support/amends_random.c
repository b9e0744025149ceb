/* Random images, and requests of them. */
#include "amends.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amends_keys.h"
#include "base/num.h"

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

/* Some of the data is zeros. */
static void write_zeros(uint64_t seed, char *script)
{
    struct dice d = dice_of(seed + 0x5a45524f);
    bool any = roll(&d, 3) == 0;

    for (char *at = strchr(script, 'd'); any && at; at = strchr(at + 1, 'd'))
        if (at[-1] != 'V' && roll(&d, 2))
            *at = 'o';
}

/* An image with a data file has none of these, and nothing compressed. */
static void without_snapshots(char *script)
{
    for (char *at = script; *at; at++) {
        bool state = *at == 'V', gone = state || *at == 'S' || *at == 'A' || *at == 'X';

        if (*at == 'c')
            *at = 'd';
        if (!gone)
            continue;
        *at = ' ';
        if (state)
            *++at = ' ';
        while (at[1] >= '0' && at[1] <= '9')
            *++at = ' ';
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

/* For hundreds at once. */
static void shrink(struct image_shape *s)
{
    s->size = (s->size >> (s->cluster_bits - 9)) / 512 * 512;
    s->cluster_bits = 9;
    s->feature_names = false; /* no room */
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
    struct qb_request rq = {
        .verify = QB_VERIFY_CONTENT, .allow_shrink = true, .free_lost_tables = true};
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
        rq.size = amends_new_size(s, size, rules[roll(d, 6)]);
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

/* Damage that is not said by the dirty bit, always with the request to mend it; and requests of
 * which most find nothing to mend. */
static unsigned random_damage(struct dice *d, struct image_shape *s)
{
    unsigned asked = roll(d, 6) ? 0 : roll(d, 16);

    s->wrong_counts = roll(d, 8) == 0;
    s->marked = s->version == 3 && roll(d, 12) == 0;
    return s->wrong_counts || s->marked ? 15 : asked;
}

static struct subject subject_drawn(struct dice *d, struct image_shape *shape, uint64_t seed,
                                    bool may_be_damaged)
{
    struct subject s = {.heavy = shape->cluster_bits > 16};
    struct dice others = dice_of(seed + 0x44414d41);
    unsigned repair = may_be_damaged ? random_damage(&others, shape) : 0;
    char script[512] = "";

    random_script(d, shape, script, sizeof(script));
    if (shape->data_file)
        without_snapshots(script);
    else
        write_zeros(seed, script);
    if (shape->extended_l2)
        amends_random_mixtures(seed, script);
    if (shape->extended_l2 && shape->data_file)
        amends_random_end(seed, shape, script + strlen(script), sizeof(script) - strlen(script));
    shape->backing_file = amends_name(shape->backing_file);
    snprintf(s.name, sizeof(s.name), "random %llu", (unsigned long long)seed);
    s.image = image_make(shape, script);
    s.rq = random_request(d, shape, amends_size_in(&s.image));
    s.image.reserved = roll(d, 3) == 0;
    amends_random_snapshots(seed, &s.rq);
    amends_random_preallocation(seed, &s.rq, amends_size_in(&s.image));
    amends_random_reclaim(seed, &s.rq);
    if (repair) {
        s.rq.set |= QB_KEY_REPAIR;
        s.rq.repair = repair;
    }
    return s;
}

struct subject subject_random(uint64_t seed)
{
    struct dice d = dice_of(seed);
    struct image_shape shape = random_shape(&d);

    return subject_drawn(&d, &shape, seed, true);
}

struct subject subject_any(uint64_t seed, bool small, bool may_be_damaged)
{
    struct dice d = dice_of(~seed);
    struct image_shape shape = random_shape(&d);
    struct subject s;

    if (small) {
        shrink(&shape);
    } else if (roll(&d, 60) == 0) {
        enlarge(&d, &shape);
    }
    shape.bitmaps = roll(&d, 8) ? 0 : 1 + roll(&d, 3);
    if (!small)
        amends_random_extended(seed, &shape);
    s = subject_drawn(&d, &shape, seed, may_be_damaged);
    s.rq.drop_bitmaps = roll(&d, 2);
    amends_random_kept(seed, &shape, &s.rq);
    amends_random_bitmaps(seed, shape.version == 3 ? shape.bitmaps : 0, &s.rq);
    return s;
}

/* ---- external data files --------------------------------------------------------------------- */

#define DATA_MOST (400u << 10)

static void random_data_file(struct dice *d, struct image_shape *s)
{
    s->version = 3;
    s->size %= DATA_MOST; /* it is read again and again */
    s->data_file = DATA_NAME;
    s->data_raw = roll(d, 2);
    s->data_junk = !s->data_raw && roll(d, 2);
    s->data_tail_junk = roll(d, 2);
    if (roll(d, 3))
        s->data_tail = roll(d, 2)
                           ? (uint32_t)(qb_round_up(s->size, 1u << s->cluster_bits) - s->size)
                           : roll(d, 60000);
    if (s->data_raw)
        s->backing_file = s->backing_fmt = NULL;
    else if (roll(d, 6) == 0 && s->size)
        s->data_cut = roll(d, (unsigned)s->size);
}

struct subject subject_with_data(uint64_t seed, bool small, bool may_be_damaged)
{
    struct dice d = dice_of(seed + 0x44415441);
    struct image_shape shape = random_shape(&d);
    struct subject s;

    if (small)
        shrink(&shape);
    else if (roll(&d, 6) == 0) {
        shape.cluster_bits = 14;
        shape.extended_l2 = roll(&d, 2);
    }
    random_data_file(&d, &shape);
    if (!small)
        amends_random_subclusters(seed, &shape);
    shape.bitmaps = roll(&d, 8) ? 0 : 1 + roll(&d, 3);
    s = subject_drawn(&d, &shape, seed, may_be_damaged);
    snprintf(s.name, sizeof(s.name), "random with data file %llu", (unsigned long long)seed);
    amends_random_data_request(&d, &s.rq);
    amends_random_bitmaps(seed, shape.bitmaps, &s.rq);
    return s;
}
