/* Finds out whose bits a merge sets in which bitmap.  Several merges are done one after the other,
 * so that bits may come by way of other bitmaps; what each has in the end is noted as the old
 * bitmaps that they are from, so that no result of one merge is needed to compute another. */
#include "rules/bitmaps.h"
#include "plan/rule.h"

/* Bits of one old bitmap, rounded to `round_bits` on their way, are set in b, too.  Rounding to
 * several granularities in turn is rounding to the coarsest of them. */
static int add_source(struct qb_bitmap_work *w, struct qb_new_bitmap *b, size_t old,
                      unsigned round_bits, struct qb_err *err)
{
    if (old == b->old && round_bits <= b->entry.granularity_bits)
        return 0; /* its own bits */
    qb_vec_each (s, &b->sources)
        if (s->old == old) {
            s->round_bits = QB_MAX(s->round_bits, round_bits);
            return 0;
        }
    w->n_sources++;
    if (!qb_vec_push(&b->sources, (struct qb_bitmap_source){.old = old, .round_bits = round_bits}))
        return qb_fail_memory(err);
    return 0;
}

static int merge_one(struct qb_bitmap_work *w, const struct qb_new_bitmap *from,
                     struct qb_new_bitmap *to, struct qb_err *err)
{
    unsigned g = from->entry.granularity_bits;

    if (from == to)
        return 0;
    if (from->old != QB_NO_BITMAP && add_source(w, to, from->old, g, err) < 0)
        return -1;
    for (size_t i = 0; i < from->sources.n; i++) {
        const struct qb_bitmap_source *s = &from->sources.items[i];

        if (add_source(w, to, s->old, QB_MAX(s->round_bits, g), err) < 0)
            return -1;
    }
    return 0;
}

static int merge_list(const struct qb_plan *plan, struct qb_bitmap_work *w,
                      const struct qb_bitmap_merge *merge, uint64_t memory_limit,
                      struct qb_err *err)
{
    struct qb_new_bitmap *to = merge->to ? qb_bitmaps_named(w, merge->to, err) : NULL;

    if (!merge->to)
        return QB_REFUSE("bitmaps.merge: a merge without the bitmap that gets the bits");
    if (!to)
        return -1;
    for (size_t i = 0; i < merge->from.n; i++) {
        const struct qb_new_bitmap *from = qb_bitmaps_named(w, merge->from.items[i], err);

        if (!from || qb_io_go_on(plan->in.io, err) < 0 || merge_one(w, from, to, err) < 0)
            return -1;
        if (w->n_sources * 2 * sizeof(struct qb_bitmap_source) > memory_limit)
            return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                           "merges of bitmaps take more than %llu KiB",
                           (unsigned long long)(memory_limit >> 10));
    }
    return 0;
}

int qb_bitmaps_merge(const struct qb_plan *plan, struct qb_bitmap_work *w, uint64_t memory_limit,
                     struct qb_err *err)
{
    const struct qb_bitmap_merges *list = &plan->in.rq->bitmaps_merge;

    for (size_t i = 0; i < list->n; i++)
        if (merge_list(plan, w, &list->items[i], memory_limit, err) < 0)
            return -1;
    return 0;
}
