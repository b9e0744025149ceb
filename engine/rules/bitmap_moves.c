/* Moves bitmaps down in the file: directory, tables, and clusters of bits.  What bits there are
 * does not change. */
#include <stdlib.h>
#include <string.h>

#include "check/census.h"
#include "rules/bitmaps.h"
#include "plan/release.h"
#include "plan/rule.h"

struct looking {
    const struct qb_plan *plan;
    uint64_t metadata; /* clusters */
    bool any;          /* something lies where things move */
    bool odd;
};

static bool is_to_move(const struct qb_plan *plan, uint64_t offset, uint64_t len)
{
    return len && (offset + len - 1) >> plan->in.img->geom.cluster_bits >= plan->moves.from;
}

static int look(void *arg, uint64_t offset, uint64_t len, const char *what, struct qb_err *err)
{
    struct looking *l = arg;

    (void)err;
    if (strcmp(what, QB_BITMAP_DATA) != 0)
        l->metadata += qb_geom_clusters(&l->plan->in.img->geom, len);
    l->any |= is_to_move(l->plan, offset, len);
    return 0;
}

static void note_odd(void *arg, uint64_t at, const char *text)
{
    struct looking *l = arg;

    (void)at;
    (void)text;
    l->odd = true;
}

static int look_at_all(const struct qb_plan *plan, struct looking *l, struct qb_err *err)
{
    *l = (struct looking){.plan = plan};
    return qb_bitmaps_walk(plan->in.io, plan->in.img, look, note_odd, l, err);
}

int qb_bitmaps_metadata(const struct qb_plan *plan, uint64_t *n, struct qb_err *err)
{
    struct looking l;

    if (look_at_all(plan, &l, err) < 0)
        return -1;
    *n = l.metadata;
    return 0;
}

/* The list, unless the request's verbs have made it already.  *w is NULL where QEMU would not take
 * it. */
static int read_list(struct qb_plan *plan, struct qb_bitmap_work **w, struct qb_err *err)
{
    struct qb_err why = {.offset = QB_NOWHERE};

    *w = plan->own[QB_RULE_bitmaps];
    if (*w)
        return 0;
    *w = qb_plan_own(plan, QB_RULE_bitmaps, sizeof(**w), err);
    if (!*w)
        return -1;
    if (qb_bitmaps_make_list(plan, *w, &why) == 0)
        return qb_counts_hold(&plan->census.counts,
                              sizeof(**w) + qb_bitmaps_memory(&(*w)->old) +
                                  (*w)->now.cap * sizeof(*(*w)->now.items),
                              err);
    *w = NULL;
    if (why.code == QB_E_CORRUPT || why.code == QB_E_UNSUPPORTED)
        return 0;
    *err = why;
    return -1;
}

struct taking {
    struct qb_plan *plan;
    struct qb_new_bitmap *b;
    bool moves;
};

static int take_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct taking *t = arg;
    struct qb_counts *bits = &t->plan->moves.bits;
    uint64_t cs = t->plan->in.img->geom.cluster_size, data = entry & QB_ENTRY_OFFSET;
    uint64_t held = bits->memory;

    t->b->table[index] = entry;
    if (!data || !is_to_move(t->plan, data, cs))
        return 0;
    t->moves = true;
    if (qb_counts_add(bits, data / cs, 1, 0, err) < 0)
        return -1;
    return qb_counts_hold(&t->plan->census.counts, bits->memory - held, err);
}

static int take_table(struct qb_plan *plan, struct qb_new_bitmap *b, struct qb_err *err)
{
    uint64_t bytes = 8ull * b->entry.table_size;
    struct taking t = {plan, b, is_to_move(plan, b->entry.table_offset, bytes)};

    if (!bytes)
        return 0;
    if (qb_counts_hold(&plan->census.counts, bytes, err) < 0)
        return -1;
    b->table = calloc(b->entry.table_size, sizeof(*b->table));
    if (!b->table)
        return qb_fail_memory(err);
    if (qb_image_scan_entries(&(struct qb_entry_scan){plan->in.io, plan->in.img,
                                                      b->entry.table_offset, b->entry.table_size,
                                                      "a bitmap table", take_entry, &t},
                              err) < 0)
        return -1;
    if (t.moves)
        return qb_plan_release(plan, b->entry.table_offset, bytes, 1, err);
    free(qb_take(&b->table));
    qb_counts_let_go(&plan->census.counts, bytes);
    return 0;
}

int qb_bitmaps_move(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;
    struct qb_bitmap_work *w;
    struct looking l;

    if (!qb_image_has_bitmaps(plan->in.img, &ext))
        return 0;
    if (look_at_all(plan, &l, err) < 0)
        return -1;
    if (!l.any || l.odd)
        return 0;
    if (read_list(plan, &w, err) < 0)
        return -1;
    if (!w)
        return 0;
    qb_vec_each (b, &w->now)
        if (take_table(plan, b, err) < 0)
            return -1;
    if (qb_plan_release(plan, be64_get(ext.directory_offset), be64_get(ext.directory_size), 1,
                        err) < 0)
        return -1;
    return qb_bitmaps_set_extension(plan, w, err);
}
