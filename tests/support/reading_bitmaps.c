#include "reading_bitmaps.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_USE = 1, AUTO = 2 };

static uint64_t bits_of(uint64_t size, unsigned granularity_bits)
{
    uint64_t granule = UINT64_C(1) << granularity_bits;

    return (size + granule - 1) / granule;
}

struct reading_bitmap *reading_bitmap_add(struct reading_bitmaps *b, const char *name,
                                          unsigned granularity_bits, unsigned flags, uint64_t size)
{
    struct reading_bitmap *one = &b->list[b->n];

    if (b->n == READING_BITMAPS)
        return NULL;
    *one = (struct reading_bitmap){.flags = flags,
                                   .granularity_bits = granularity_bits,
                                   .n_bits = bits_of(size, granularity_bits)};
    snprintf(one->name, sizeof(one->name), "%s", name);
    one->bits = calloc(one->n_bits + 1, 1);
    if (!one->bits)
        abort();
    b->n++;
    return one;
}

static uint64_t number(const uint8_t *at, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | *at++;
    return v;
}

struct reading_bitmap *reading_bitmap_decode(struct reading_bitmaps *b, const uint8_t *entry,
                                             uint64_t room, uint64_t size, uint64_t *len)
{
    struct reading_bitmap *one;
    uint64_t name_len, extra;
    char name[64];

    if (room < 24 || entry[16] != 1 || entry[17] > 31)
        return NULL;
    name_len = number(entry + 18, 2);
    extra = number(entry + 20, 4);
    if (24 + extra + name_len > room || name_len >= sizeof(name))
        return NULL;
    memcpy(name, entry + 24 + extra, name_len);
    name[name_len] = 0;
    one = reading_bitmap_add(b, name, entry[17], (unsigned)number(entry + 12, 4), size);
    if (one)
        for (uint64_t i = 0; i < extra; i++)
            one->extra = one->extra * 31 + entry[24 + i] + 1;
    *len = (24 + extra + name_len + 7) / 8 * 8;
    if (*len > room)
        *len = room;
    return one;
}

void reading_bitmap_fill(struct reading_bitmap *b, uint64_t first, uint64_t n, const uint8_t *bytes,
                         bool ones)
{
    for (uint64_t k = 0; first + k < b->n_bits && k < n; k++)
        b->bits[first + k] = bytes ? bytes[k / 8] >> k % 8 & 1 : ones;
}

void reading_bitmaps_free(struct reading_bitmaps *b)
{
    while (b->n)
        free(b->list[--b->n].bits);
}

static void take_out(struct reading_bitmaps *b, unsigned i)
{
    free(b->list[i].bits);
    memmove(&b->list[i], &b->list[i + 1], (--b->n - i) * sizeof(b->list[0]));
}

static bool matches(const struct qb_name_list *globs, const char *name)
{
    for (size_t i = 0; i < globs->n; i++)
        if (fnmatch(globs->items[i], name, 0) == 0)
            return true;
    return false;
}

static void reading_bitmaps_resize(struct reading_bitmaps *b, uint64_t size)
{
    for (unsigned i = 0; i < b->n; i++) {
        struct reading_bitmap *one = &b->list[i];
        uint64_t n = bits_of(size, one->granularity_bits);

        one->bits = realloc(one->bits, n + 1);
        if (!one->bits)
            abort();
        if (n > one->n_bits)
            memset(one->bits + one->n_bits, 0, n - one->n_bits);
        one->n_bits = n;
    }
}

static struct reading_bitmap *named(struct reading_bitmaps *b, const char *name)
{
    for (unsigned i = 0; i < b->n; i++)
        if (strcmp(b->list[i].name, name) == 0)
            return &b->list[i];
    return NULL;
}

static unsigned power_of(uint64_t bytes)
{
    unsigned bits = 0;

    while (UINT64_C(1) << bits < bytes)
        bits++;
    return bits;
}

/* What has been done before is not done again. */
static void rename_and_add(struct reading_bitmaps *b, const struct qb_request *rq, uint64_t size)
{
    for (size_t i = 0; i < rq->bitmaps_rename.n; i++) {
        struct reading_bitmap *one = named(b, rq->bitmaps_rename.items[i].from);

        if (one)
            snprintf(one->name, sizeof(one->name), "%s", rq->bitmaps_rename.items[i].to);
    }
    for (size_t i = 0; i < rq->bitmaps_add.n; i++) {
        const struct qb_bitmap_add *a = &rq->bitmaps_add.items[i];

        if (!named(b, a->name))
            reading_bitmap_add(b, a->name, power_of(a->granularity), a->disabled ? 0 : AUTO, size);
    }
}

/* Each bit of one sets those of the other for the bytes that it stands for. */
static void merge(const struct reading_bitmap *from, struct reading_bitmap *to)
{
    for (uint64_t i = 0; i < from->n_bits; i++) {
        uint64_t first = i << from->granularity_bits, end = (i + 1) << from->granularity_bits;

        for (uint64_t k = first >> to->granularity_bits;
             from->bits[i] && k < to->n_bits && k << to->granularity_bits < end; k++)
            to->bits[k] = 1;
    }
}

static void merge_all(struct reading_bitmaps *b, const struct qb_request *rq)
{
    for (size_t i = 0; i < rq->bitmaps_merge.n; i++) {
        const struct qb_bitmap_merge *m = &rq->bitmaps_merge.items[i];

        for (size_t k = 0; k < m->from.n; k++)
            if (named(b, m->from.items[k]) && named(b, m->to))
                merge(named(b, m->from.items[k]), named(b, m->to));
    }
}

void reading_bitmaps_amend(struct reading_bitmaps *b, const struct qb_request *rq, uint64_t size)
{
    bool asked = rq->set & QB_KEY_BITMAPS;
    bool mends = ((rq->set & QB_KEY_REPAIR) && (rq->repair & QB_REPAIR_BITMAPS)) ||
                 (asked && rq->bitmaps_remove_inconsistent);

    reading_bitmaps_resize(b, size);
    for (unsigned i = b->n; i-- > 0;)
        if ((asked && matches(&rq->bitmaps_remove, b->list[i].name)) ||
            (mends && (b->list[i].flags & IN_USE)))
            take_out(b, i);
    if (!asked)
        return;
    rename_and_add(b, rq, size);
    merge_all(b, rq);
    for (unsigned i = 0; i < b->n; i++) {
        struct reading_bitmap *one = &b->list[i];

        if (matches(&rq->bitmaps_clear, one->name))
            memset(one->bits, 0, one->n_bits);
        if (matches(&rq->bitmaps_enable, one->name))
            one->flags |= AUTO;
        if (matches(&rq->bitmaps_disable, one->name))
            one->flags &= ~(unsigned)AUTO;
    }
}

const char *reading_bitmaps_differ(const struct reading_bitmaps *a, const struct reading_bitmaps *b)
{
    if (a->n != b->n)
        return "another number of bitmaps";
    for (unsigned i = 0; i < a->n; i++) {
        const struct reading_bitmap *x = &a->list[i], *y = &b->list[i];

        if (strcmp(x->name, y->name) != 0 || x->flags != y->flags ||
            x->granularity_bits != y->granularity_bits || x->extra != y->extra)
            return "a bitmap of another name, granularity, flags or extra data";
        if (!(x->flags & IN_USE) && x->n_bits != y->n_bits)
            return "a bitmap of another length";
        if (!(x->flags & IN_USE) && memcmp(x->bits, y->bits, x->n_bits) != 0)
            return "other bits in a bitmap";
    }
    return "";
}
