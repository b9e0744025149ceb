/* Decides about the tables of bitmaps, and about the clusters that they name. */
#include <string.h>

#include "rules/bitmaps.h"
#include "plan/release.h"
#include "plan/rule.h"

static uint64_t new_entries(const struct qb_plan *plan, const struct qb_bitmap *b)
{
    return qb_bitmap_table_entries(&plan->in.img->geom, plan->target.header.size,
                                   b->granularity_bits);
}

/* An inconsistent bitmap has no bits that mean anything: QEMU takes its table as it is. */
static bool is_untouched(const struct qb_new_bitmap *b)
{
    return b->entry.flags & QB_BITMAP_IN_USE;
}

/* Whether its table may be another one afterwards. */
static bool needs_table(const struct qb_plan *plan, const struct qb_new_bitmap *b)
{
    return b->old == QB_NO_BITMAP || b->cleared || b->sources.n ||
           qb_bitmap_is_resized(plan, &b->entry);
}

int qb_bitmaps_need_tables(const struct qb_plan *plan, const struct qb_bitmap_work *w, bool *need,
                           struct qb_err *err)
{
    *need = false;
    qb_vec_each (b, &w->now) {
        uint64_t entries = new_entries(plan, &b->entry);

        if (is_untouched(b))
            continue;
        if (entries == 0)
            return QB_REFUSE("bitmap \"%.80s\": a disk of 0 bytes cannot have a bitmap, which QEMU "
                             "would not load; remove it",
                             b->entry.name);
        if (entries > QB_MAX_BITMAP_BYTES / plan->in.img->geom.cluster_size)
            return QB_REFUSE(
                "bitmap \"%.80s\" with a granularity of %llu bytes would be larger than "
                "512 MiB, which QEMU does not load; %s",
                b->entry.name, 1ull << b->entry.granularity_bits,
                b->old == QB_NO_BITMAP ? "add it with a larger granularity"
                                       : "remove it, or merge it into one of a larger granularity");
        *need |= needs_table(plan, b);
    }
    return 0;
}

/* ---- one table ------------------------------------------------------------------------------- */

struct tabling {
    struct qb_plan *plan;
    struct qb_bitmap_work *w;
    const struct qb_bitmap *old; /* NULL: it is added */
    struct qb_new_bitmap *b;
    uint32_t n;       /* entries of the new table */
    uint8_t *touched; /* one an entry: its bits have to be computed */
    bool differs;     /* comparing: from the old table */
    uint64_t held;    /* comparing: old entries that are not 0 */
};

static int take(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct tabling *t = arg;

    (void)err;
    if (index < t->n)
        t->b->table[index] = entry;
    return 0;
}

static int scan_old(const struct qb_plan *plan, const struct qb_bitmap *old, qb_entry_fn *fn,
                    void *arg, struct qb_err *err)
{
    return qb_image_scan_entries(&(struct qb_entry_scan){plan->in.io, plan->in.img,
                                                         old->table_offset, old->table_size,
                                                         "a bitmap table", fn, arg},
                                 err);
}

static int hold_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    uint64_t *table = arg;

    (void)err;
    table[index] = entry;
    return 0;
}

/* Has the old table of a source in memory. */
static int hold_table(struct qb_plan *plan, struct qb_bitmap_work *w, size_t old,
                      struct qb_err *err)
{
    const struct qb_bitmap *b = &w->old.list.items[old];

    if (w->held[old])
        return 0;
    if (qb_counts_hold(&plan->census.counts, 8ull * b->table_size, err) < 0)
        return -1;
    w->held[old] = calloc(b->table_size + 1ull, sizeof(*w->held[old]));
    if (!w->held[old])
        return qb_fail_memory(err);
    return scan_old(plan, b, hold_entry, w->held[old], err);
}

/* Marks the entries whose bits a source may change. */
static int touch_source(struct tabling *t, const struct qb_bitmap_source *s, struct qb_err *err)
{
    const struct qb_bitmap *from = &t->w->old.list.items[s->old];

    if (hold_table(t->plan, t->w, s->old, err) < 0)
        return -1;
    for (uint32_t i = 0; i < from->table_size; i++) {
        uint64_t first, end;

        if (i % 4096 == 0 && qb_io_go_on(t->plan->in.io, err) < 0)
            return -1;
        if (!t->w->held[s->old][i])
            continue;
        qb_bitmap_reach(t->plan, t->w, t->b, s, i, &first, &end);
        end = QB_MIN(end, t->n);
        if (first < end)
            memset(t->touched + first, 1, end - first);
    }
    return 0;
}

/* ... and the one in which the smaller disk ends: what is past the end must be clear. */
static int touch(struct tabling *t, struct qb_err *err)
{
    uint64_t in_cluster = t->plan->in.img->geom.cluster_size * 8;
    uint64_t kept = qb_bitmap_kept_bits(t->plan, &t->b->entry), index = kept / in_cluster;

    if (qb_bitmap_is_resized(t->plan, &t->b->entry) && kept % in_cluster && index < t->n &&
        t->b->table[index])
        t->touched[index] = 1;
    qb_vec_each (s, &t->b->sources)
        if (touch_source(t, s, err) < 0)
            return -1;
    return 0;
}

static bool all_ones(const uint8_t *bits, uint64_t n)
{
    return bits[0] == 0xff && memcmp(bits, bits + 1, n - 1) == 0;
}

/* Decides about one entry whose bits may change.  All bits set are an entry without data; where the
 * disk ends in it they never are, for the bits past the end are clear. */
static int decide(struct tabling *t, uint32_t index, struct qb_bits *bits, struct qb_err *err)
{
    struct qb_new_bitmap *b = t->b;
    uint64_t cs = t->plan->in.img->geom.cluster_size;
    struct qb_fresh_bits fresh = {b->table[index], index};
    bool merged = false;

    if (qb_bitmap_compute(t->plan->in.io, t->plan, t->w, b, fresh, bits, &merged, err) < 0)
        return -1;
    b->merged |= merged;
    if (memcmp(bits->was, bits->now, cs) == 0)
        return 0;
    if (qb_all_zero(bits->now, cs) || all_ones(bits->now, cs)) {
        b->table[index] = bits->now[0] & 1;
        return 0;
    }
    b->table[index] = QB_BITMAP_NEW | b->fresh.n;
    return qb_counts_push(&t->plan->census.counts, &b->fresh, err, fresh);
}

static int decide_touched(struct tabling *t, struct qb_err *err)
{
    uint64_t cs = t->plan->in.img->geom.cluster_size;
    QB_AUTO(qb_buf) uint8_t *room = NULL;
    struct qb_bits bits;

    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->touched[i])
            continue;
        if (!room && !(room = malloc(4 * cs)))
            return qb_fail_memory(err);
        bits = (struct qb_bits){room, room + cs, room + 2 * cs};
        if (qb_io_go_on(t->plan->in.io, err) < 0 || decide(t, i, &bits, err) < 0)
            return -1;
    }
    return 0;
}

static int make_bits(struct tabling *t, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *touched = calloc(t->n + 1ull, 1);

    if (!touched)
        return qb_fail_memory(err);
    t->touched = touched;
    if (t->old && !t->b->cleared && scan_old(t->plan, t->old, take, t, err) < 0)
        return -1;
    if (t->b->cleared)
        return 0;
    return touch(t, err) < 0 ? -1 : decide_touched(t, err);
}

static int compare(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct tabling *t = arg;

    (void)err;
    t->held++;
    t->differs |= index >= t->n || t->b->table[index] != entry;
    return 0;
}

/* Whether it is the table that the bitmap has. */
static int is_old_table(struct tabling *t, bool *same, struct qb_err *err)
{
    uint64_t held = 0;

    *same = false;
    if (!t->old || t->n != t->old->table_size)
        return 0;
    if (scan_old(t->plan, t->old, compare, t, err) < 0)
        return -1;
    for (uint32_t i = 0; i < t->n; i++)
        held += t->b->table[i] != 0;
    *same = !t->differs && held == t->held;
    return 0;
}

static int make_table(struct tabling *t, struct qb_err *err)
{
    struct qb_new_bitmap *b = t->b;
    bool same;

    if (make_bits(t, err) < 0 || is_old_table(t, &same, err) < 0)
        return -1;
    if (same) {
        qb_counts_let_go(&t->plan->census.counts, 8ull * t->n);
        free(qb_take(&b->table));
        return 0;
    }
    b->entry.table_size = t->n;
    return 0;
}

int qb_bitmap_plan_table(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_new_bitmap *b,
                         struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size, working;
    struct tabling t = {.plan = plan, .w = w, .b = b};
    int r;

    if (is_untouched(b) || !needs_table(plan, b))
        return 0;
    t.old = b->old == QB_NO_BITMAP ? NULL : &w->old.list.items[b->old];
    t.n = (uint32_t)new_entries(plan, &b->entry);
    working = 4 * cs + t.n;
    if (qb_counts_hold(&plan->census.counts, 8ull * t.n + working, err) < 0)
        return -1;
    b->table = calloc(t.n + 1ull, sizeof(*b->table));
    if (!b->table)
        return qb_fail_memory(err);
    r = make_table(&t, err);
    qb_counts_let_go(&plan->census.counts, working);
    return r;
}

void qb_bitmap_fill_table(const struct qb_plan *plan, const struct qb_new_bitmap *b, uint64_t at,
                          uint8_t *to)
{
    uint64_t cs = plan->in.img->geom.cluster_size, n = QB_MIN(cs / 8, b->entry.table_size - at / 8);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t entry = b->table[at / 8 + i];
        be64 disk;

        if (entry & QB_BITMAP_NEW)
            entry = plan->contents.items[b->data_at].offset + (entry & ~QB_BITMAP_NEW) * cs;
        else if (plan->moves.n && entry & QB_ENTRY_OFFSET)
            entry = qb_moves_to(&plan->moves, (entry & QB_ENTRY_OFFSET) / cs) * cs;
        disk = be64_of(entry);
        memcpy(to + 8 * i, &disk, sizeof(disk));
    }
}

/* ---- references ------------------------------------------------------------------------------ */

struct releasing {
    struct qb_plan *plan;
    const struct qb_new_bitmap *b; /* NULL: nothing of the old one stays */
};

static int release_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    const struct releasing *r = arg;
    uint64_t data = entry & QB_ENTRY_OFFSET;

    if (!data || (r->b && index < r->b->entry.table_size && r->b->table[index] == entry))
        return 0;
    return qb_plan_release(r->plan, data, r->plan->in.img->geom.cluster_size, 1, err);
}

static int release_old(struct qb_plan *plan, const struct qb_bitmap *old,
                       const struct qb_new_bitmap *b, struct qb_err *err)
{
    struct releasing r = {plan, b};

    if (qb_plan_release(plan, old->table_offset, 8ull * old->table_size, 1, err) < 0)
        return -1;
    return qb_image_scan_entries(&(struct qb_entry_scan){plan->in.io, plan->in.img,
                                                         old->table_offset, old->table_size,
                                                         "a bitmap table", release_entry, &r},
                                 err);
}

int qb_bitmaps_release(struct qb_plan *plan, const struct qb_bitmap_work *w, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;

    if (!qb_image_has_bitmaps(plan->in.img, &ext) || w->whole)
        return 0;
    if (qb_plan_release(plan, be64_get(ext.directory_offset), be64_get(ext.directory_size), 1,
                        err) < 0)
        return -1;
    for (size_t i = 0; i < w->old.list.n; i++)
        if (w->gone[i] && !w->lost[i] && release_old(plan, &w->old.list.items[i], NULL, err) < 0)
            return -1;
    qb_vec_each (b, &w->now)
        if (b->table && b->old != QB_NO_BITMAP &&
            release_old(plan, &w->old.list.items[b->old], b, err) < 0)
            return -1;
    return 0;
}
