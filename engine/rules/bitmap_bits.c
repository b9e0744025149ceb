/* Computes clusters of a bitmap's bits: the old ones, cut where the smaller disk ends, and the bits
 * of the bitmaps that are merged into it.  Bit n stands for the bytes [n, n + 1) << granularity of
 * the disk; bits are in bytes from the least significant one on. */
#include <string.h>

#include "rules/bitmaps.h"

static uint64_t bits_for(uint64_t size, unsigned granularity_bits)
{
    return qb_div_up(size, UINT64_C(1) << granularity_bits);
}

bool qb_bitmap_is_resized(const struct qb_plan *plan, const struct qb_bitmap *b)
{
    return bits_for(plan->in.img->header.size, b->granularity_bits) !=
           bits_for(plan->target.header.size, b->granularity_bits);
}

static uint64_t smaller_size(const struct qb_plan *plan)
{
    return QB_MIN(plan->in.img->header.size, plan->target.header.size);
}

uint64_t qb_bitmap_kept_bits(const struct qb_plan *plan, const struct qb_bitmap *b)
{
    return bits_for(smaller_size(plan), b->granularity_bits);
}

static uint64_t round_down(uint64_t n, unsigned bits)
{
    return n >> bits << bits;
}

static uint64_t round_up(uint64_t n, unsigned bits)
{
    return round_down(n + (UINT64_C(1) << bits) - 1, bits);
}

/* ---- bits in memory -------------------------------------------------------------------------- */

/* Clears the bits from number `first` on. */
static void clear_from(uint8_t *bits, uint64_t first, uint64_t bytes)
{
    uint64_t at = qb_div_up(first, 8);

    memset(bits + at, 0, bytes - at);
    if (first % 8)
        bits[first / 8] &= (uint8_t)((1u << first % 8) - 1);
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t end)
{
    for (; first < end && first % 8; first++)
        bits[first / 8] |= (uint8_t)(1u << first % 8);
    if (first + 8 <= end)
        memset(bits + first / 8, 0xff, (end - first) / 8);
    for (first += first < end ? (end - first) / 8 * 8 : 0; first < end; first++)
        bits[first / 8] |= (uint8_t)(1u << first % 8);
}

static bool bit_at(const uint8_t *bits, uint64_t i)
{
    return bits[i / 8] >> i % 8 & 1;
}

/* The first bit from `at` on that is set, or clear, up to `end`; bytes without one at once. */
static uint64_t next_bit(const uint8_t *bits, uint64_t at, uint64_t end, bool set)
{
    uint8_t dull = set ? 0 : 0xff;

    while (at < end) {
        if (at % 8 == 0 && bits[at / 8] == dull)
            at += 8;
        else if (bit_at(bits, at) == set)
            return at;
        else
            at++;
    }
    return end;
}

/* ---- the bits of a source -------------------------------------------------------------------- */

/* A cluster of the bits of the bitmap that gets some, as the bytes of the disk for which they
 * stand, and what the old bits are read with. */
struct window {
    struct qb_io *io;
    const struct qb_plan *plan;
    const struct qb_bitmap_work *w;
    const struct qb_bitmap *b;
    uint64_t first, end;
    struct qb_bits *bits; /* of which `now` gets them */
};

static void frame(struct window *to, uint32_t index)
{
    uint64_t span = to->plan->in.img->geom.cluster_size * 8 << to->b->granularity_bits;

    to->first = span * index;
    to->end = qb_min(to->first + span, to->plan->target.header.size);
}

/* Sets the bits of the window for the bytes [first, end), rounded out. */
static void set_range(struct window *w, uint64_t first, uint64_t end, unsigned round_bits)
{
    unsigned g = w->b->granularity_bits;

    first = qb_max(round_down(first, round_bits), w->first);
    end = qb_min(round_up(end, round_bits), w->end);
    if (first < end)
        set_bits(w->bits->now, (first - w->first) >> g, bits_for(end - w->first, g));
}

struct taking {
    struct window *to;
    const struct qb_bitmap_source *s;
    unsigned granularity_bits; /* of the source */
    bool any;
};

/* Called for a run of set bits [first, end) of a source; returns whether to look for more. */
typedef bool run_fn(struct taking *t, uint64_t first, uint64_t end);

/* The runs of set bits in [first, end), which lie in one cluster: entry `entry` of the table. */
static int each_run_of_cluster(struct taking *t, uint64_t entry, uint64_t first, uint64_t end,
                               run_fn *fn, struct qb_err *err)
{
    const struct qb_image *img = t->to->plan->in.img;
    uint64_t in_cluster = img->geom.cluster_size * 8, base = first / in_cluster * in_cluster;
    uint64_t from = (first - base) / 8, to = qb_div_up(end - base, 8);
    uint64_t at = (entry & QB_ENTRY_OFFSET) + from, had;
    uint8_t *scratch = t->to->bits->scratch;

    if (!(entry & QB_ENTRY_OFFSET))
        return !(entry & 1) || fn(t, first, end);
    had = at < img->file->size ? QB_MIN(to - from, img->file->size - at) : 0;
    memset(scratch, 0, to - from); /* the file's last cluster may be there in part */
    if (had && qb_io_read(t->to->io, img->file, at, scratch, had, "a bitmap's data", err) < 0)
        return -1;
    base += from * 8;
    for (uint64_t i = first - base; (i = next_bit(scratch, i, end - base, true)) < end - base;) {
        uint64_t clear = next_bit(scratch, i, end - base, false);

        if (!fn(t, base + i, base + clear))
            return 0;
        i = clear;
    }
    return 1;
}

/* The runs of set bits of the source's old bitmap in [first, end), a cluster at a time. */
static int each_run(struct taking *t, uint64_t first, uint64_t end, run_fn *fn, struct qb_err *err)
{
    const struct qb_bitmap_work *w = t->to->w;
    uint64_t in_cluster = t->to->plan->in.img->geom.cluster_size * 8;
    size_t old = t->s->old;

    while (first < end) {
        uint64_t index = first / in_cluster, stop = QB_MIN(end, (index + 1) * in_cluster);
        uint64_t entry = index < w->old.list.items[old].table_size ? w->held[old][index] : 0;
        int r = 1;

        if (entry) {
            if (qb_io_go_on(t->to->io, err) < 0)
                return -1;
            r = each_run_of_cluster(t, entry, first, stop, fn, err);
        }
        if (r <= 0)
            return r;
        first = stop;
    }
    return 0;
}

static bool take_run(struct taking *t, uint64_t first, uint64_t end)
{
    set_range(t->to, first << t->granularity_bits, end << t->granularity_bits, t->s->round_bits);
    return true;
}

static bool note_run(struct taking *t, uint64_t first, uint64_t end)
{
    (void)first, (void)end;
    t->any = true;
    return false;
}

/* Sets what one source sets in the window.  Where all of it lies in one granule of what bits were
 * rounded to, that granule is looked at once for all windows in it. */
static int take_source(struct window *to, struct qb_bitmap_source *s, struct qb_err *err)
{
    unsigned g = to->w->old.list.items[s->old].granularity_bits;
    uint64_t first = round_down(to->first, s->round_bits), granule = first >> s->round_bits;
    uint64_t end = qb_min(round_up(to->end, s->round_bits), smaller_size(to->plan));
    bool within = round_up(to->end, s->round_bits) - first == UINT64_C(1) << s->round_bits;
    struct taking t = {to, s, g, false};

    if (first >= end)
        return 0;
    if (!within)
        return each_run(&t, first >> g, bits_for(end, g), take_run, err);
    if (s->granule != granule + 1) {
        if (each_run(&t, first >> g, bits_for(end, g), note_run, err) < 0)
            return -1;
        s->granule = granule + 1;
        s->is_dirty = t.any;
    }
    if (s->is_dirty)
        set_range(to, to->first, to->end, 0);
    return 0;
}

void qb_bitmap_reach(const struct qb_plan *plan, const struct qb_bitmap_work *w,
                     const struct qb_new_bitmap *b, const struct qb_bitmap_source *s,
                     uint32_t index, uint64_t *first, uint64_t *end)
{
    uint64_t in_cluster = plan->in.img->geom.cluster_size * 8;
    uint64_t span = in_cluster << w->old.list.items[s->old].granularity_bits;
    uint64_t reach = in_cluster << b->entry.granularity_bits, size = smaller_size(plan);

    *first = *end = 0;
    if (span * index >= size)
        return;
    *first = round_down(span * index, s->round_bits) / reach;
    *end = qb_div_up(qb_min(round_up(QB_MIN(span * index + span, size), s->round_bits),
                            plan->target.header.size),
                     reach);
}

/* ---- a cluster of bits ----------------------------------------------------------------------- */

static int read_base(struct qb_io *io, const struct qb_image *img, uint64_t entry, uint8_t *to,
                     struct qb_err *err)
{
    uint64_t cs = img->geom.cluster_size, data = entry & QB_ENTRY_OFFSET;

    memset(to, !data && (entry & 1) ? 0xff : 0, cs); /* the file's last cluster may be partial */
    if (!data)
        return 0;
    return qb_io_read(io, img->file, data, to, QB_MIN(cs, img->file->size - data),
                      "a bitmap's data", err);
}

int qb_bitmap_compute(struct qb_io *io, const struct qb_plan *plan, const struct qb_bitmap_work *w,
                      struct qb_new_bitmap *b, struct qb_fresh_bits at, struct qb_bits *bits,
                      bool *merged, struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size, first = at.index * cs * 8;
    uint64_t kept = qb_bitmap_kept_bits(plan, &b->entry);
    struct window to = {.io = io, .plan = plan, .w = w, .b = &b->entry, .bits = bits};

    frame(&to, at.index);
    if (read_base(io, plan->in.img, at.base, bits->was, err) < 0)
        return -1;
    memcpy(bits->now, bits->was, cs);
    if (qb_bitmap_is_resized(plan, &b->entry) && kept < first + cs * 8)
        clear_from(bits->now, kept > first ? kept - first : 0, cs);
    if (!b->sources.n)
        return 0;
    *merged = false;
    memcpy(bits->scratch + cs, bits->now, cs);
    qb_vec_each (s, &b->sources)
        if (take_source(&to, s, err) < 0)
            return -1;
    *merged = memcmp(bits->scratch + cs, bits->now, cs) != 0;
    return 0;
}
