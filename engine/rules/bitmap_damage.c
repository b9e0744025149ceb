/* Reads the bitmaps of an image, and finds those that are damaged: they are not counted where they
 * go, so that what only they may have used is a leak, and refused where they stay. */
#include <string.h>

#include "plan/rule.h"
#include "rules/bitmaps.h"

uint64_t qb_bitmaps_memory_limit(const struct qb_plan *plan)
{
    uint64_t limit = plan->in.rq->memory_limit ? plan->in.rq->memory_limit : QB_CENSUS_MEMORY;

    return limit - qb_min(qb_image_memory(plan->in.img), limit - 1);
}

bool qb_bitmaps_remove_all(const struct qb_request *rq)
{
    for (size_t i = 0; qb_asked(rq, QB_KEY_BITMAPS) && i < rq->bitmaps_remove.n; i++)
        if (strcmp(rq->bitmaps_remove.items[i], "*") == 0)
            return true;
    return false;
}

bool qb_bitmaps_may_all_go(const struct qb_request *rq)
{
    return qb_bitmaps_remove_all(rq) || qb_mends(rq, QB_REPAIR_BITMAPS);
}

int qb_bitmaps_refuse(const struct qb_err *odd, struct qb_err *err)
{
    return qb_fail(err, odd->code, odd->offset, "%.200s; repair=bitmaps removes it", odd->text);
}

/* Which tables are damaged, of bitmaps that may go. */
static int find_lost(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    const struct qb_request *rq = plan->in.rq;
    bool mends = qb_mends(rq, QB_REPAIR_BITMAPS), is_odd;

    if (!mends && !(qb_asked(rq, QB_KEY_BITMAPS) && rq->bitmaps_remove.n))
        return 0;
    for (size_t i = 0; i < w->old.list.n; i++) {
        struct qb_bitmap *b = &w->old.list.items[i];

        if (qb_bitmaps_table_is_odd(plan->in.io, plan->in.img, b->table_offset, b->table_size,
                                    &is_odd, err) < 0)
            return -1;
        w->lost[i] = is_odd;
        b->odd |= mends && is_odd;
    }
    return 0;
}

int qb_bitmaps_read_old(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;

    if (qb_image_has_bitmaps(plan->in.img, &ext) &&
        qb_bitmaps_read_any(plan->in.io, plan->in.img, qb_bitmaps_memory_limit(plan), &w->old,
                            err) < 0)
        return -1;
    w->whole = w->changes = w->old.broken || plan->in.img->odd_bitmaps.code;
    if (w->old.broken && !qb_bitmaps_may_all_go(plan->in.rq))
        return qb_bitmaps_refuse(&w->old.odd, err);
    w->gone = calloc(w->old.list.n + 1, 1);
    w->lost = calloc(w->old.list.n + 1, 1);
    w->held = calloc(w->old.list.n + 1, sizeof(*w->held));
    if (!w->gone || !w->lost || !w->held)
        return qb_fail_memory(err);
    return find_lost(plan, w, err);
}

/* What is damaged and goes is not counted. */
int qb_bitmaps_skip_lost(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    bool any = w->whole;

    for (size_t i = 0; i < w->old.list.n; i++)
        any |= w->lost[i] &= w->gone[i];
    plan->skips = (struct qb_bitmaps_skipped){w->lost, w->old.list.n, w->whole};
    if (any && plan->in.rq->keep_undo)
        return QB_CANNOT("keep_undo: an undo cannot prove what damaged bitmaps refer to");
    return 0;
}

/* A downgrade drops them all: whether they are damaged matters only to what is freed. */
int qb_bitmaps_skip_dropped(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_bitmap_work *w;
    bool any;

    if (!qb_mends(plan->in.rq, QB_REPAIR_BITMAPS))
        return 0;
    w = qb_plan_own(plan, QB_RULE_bitmaps, sizeof(*w), err);
    if (!w || qb_bitmaps_read_old(plan, w, err) < 0)
        return -1;
    any = w->whole;
    for (size_t i = 0; i < w->old.list.n; i++)
        any |= w->lost[i];
    plan->skips.all = any;
    return 0;
}
