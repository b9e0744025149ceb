/* on_leaks: decides about leaks, clusters whose refcount on disk is above the number of their
 * references.
 *
 * Leaks are evidence: the clusters under a table that was lost still hold what the guest wrote.  By
 * default an amend neither makes nor frees any.  A kept leak is in the final counts like a
 * reference that is never dropped, so that nothing is allocated there, nothing is discarded there,
 * and COPIED follows the refcount that the disk will hold.  Where they are to be freed, a table
 * that was lost has the image refused. */
#include <inttypes.h>
#include <stdio.h>

#include "check/lost.h"
#include "plan/release.h"
#include "plan/rule.h"

/* Ranges of leaked clusters whose space is freed; a megabyte of hostile refcounts can hold eight
 * million.  Clusters past the limit are free for the guest all the same. */
#define FREED_RANGES (1u << 20)

static int refuse(const struct qb_plan *plan, struct qb_err *err)
{
    return qb_fail(err, QB_E_LEAKS, QB_NOWHERE,
                   "the image has %" PRIu64 " leaked cluster%s (%" PRIu64 " bytes)",
                   plan->leaks.clusters, plan->leaks.clusters == 1 ? "" : "s", plan->leaks.bytes);
}

/* Where a lost table covers how much of which layer, as far as that can be known. */
static void describe_gaps(const struct qb_plan *plan, const struct qb_lost *lost, char *text,
                          size_t size)
{
    const char *layer = lost->layer ? "a snapshot" : "the active layer";
    uint64_t span = plan->in.img->geom.l1_span;

    if (lost->gaps.n == 1)
        snprintf(text, size, "%s has no entries for guest bytes %" PRIu64 " to %" PRIu64, layer,
                 lost->gaps.first * span,
                 qb_min((lost->gaps.first + 1) * span,
                        qb_image_layer(plan->in.img, lost->layer).disk_size) -
                     1);
    else
        snprintf(text, size, "%" PRIu64 " stretches of %s, of %" PRIu64 " bytes, have no entries",
                 lost->gaps.n, layer, span);
}

/* Freed, a lost table and what it names would be overwritten. */
static int spare_lost_tables(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_lost lost;
    char gaps[160];

    if (plan->in.rq->free_lost_tables)
        return 0;
    if (qb_lost_find(plan->in.io, &plan->census, &lost, err) < 0)
        return -1;
    if (lost.n == 0)
        return 0;
    describe_gaps(plan, &lost, gaps, sizeof(gaps));
    return qb_fail(err, QB_E_LEAKS, lost.first,
                   "the leaked cluster at %" PRIu64 " is an L2 table that nothing names (%" PRIu64
                   " such table%s, with %" PRIu64 " leaked cluster%s), and %s: they may be the "
                   "last copy of guest data, and are not freed",
                   lost.first, lost.n, lost.n == 1 ? "" : "s", lost.clusters,
                   lost.clusters == 1 ? "" : "s", gaps);
}

/* The refcounts on disk become the counts to start from. */
static int keep(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_census *c = &plan->census;

    if (qb_counts_add_counts(&c->counts, &c->surplus, err) < 0)
        return -1;
    plan->kept.counts = c->surplus;
    c->surplus = (struct qb_counts){0};
    for (size_t i = 0; i < c->reftable_n; i++)
        c->block_differs[i] &= (uint8_t)~QB_BLOCK_LEAKS;
    c->copied_wrong = false; /* the flags fit the refcounts on disk, or the census was refused */
    if (qb_target_new_width(plan->in.img, &plan->target) && plan->target.header.refcount_order == 0)
        plan->new_tables.recheck_copied = true; /* a kept 2 becomes a 1 */
    return 0;
}

/* What the report lists: the rule's own state. */
struct leaked {
    unsigned n;
    struct qb_freed_range first[QB_FREED_LISTED];
};

static void list(struct leaked *l, struct qb_range r)
{
    struct qb_freed_range *last = l->n ? &l->first[l->n - 1] : NULL;

    if (last && last->offset + last->bytes == r.first)
        last->bytes += r.end - r.first;
    else if (l->n < QB_FREED_LISTED)
        l->first[l->n++] = (struct qb_freed_range){r.first, r.end - r.first};
}

static int add_punch(struct qb_plan *plan, struct qb_range r, struct qb_err *err)
{
    struct qb_range *last =
        plan->freed.punches.n ? &plan->freed.punches.items[plan->freed.punches.n - 1] : NULL;

    if (last && last->end == r.first)
        last->end = r.end;
    else if (plan->freed.punches.n >= FREED_RANGES)
        plan->freed.n_unlisted++;
    else if (qb_counts_push(&plan->census.counts, &plan->freed.punches, err, r) < 0)
        return -1;
    return 0;
}

/* A cluster without a reference.  It is discarded once the amended image is durable, unless an undo
 * is to bring back the old refcounts: then it stays as it is until a guest uses it. */
static int free_cluster(struct qb_plan *plan, struct leaked *l, uint64_t cluster,
                        struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size;
    struct qb_range r = {cluster * cs, (cluster + 1) * cs};

    list(l, r);
    /* It is discarded in the end, so that it is no room for what the plan appends; nor for what
     * moves, which is decided later. */
    if ((qb_plan_uses_room(plan) || plan->in.rq->reclaim_compact) &&
        qb_counts_add(&plan->census.counts, cluster, 0, QB_MARK_DROPPED, err) < 0)
        return -1;
    return plan->in.rq->keep_undo ? 0 : add_punch(plan, r, err);
}

/* The references become the counts to start from. */
static int free_all(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_census *c = &plan->census;
    struct qb_count_page *const *pages = qb_counts_pages(&c->surplus);
    struct leaked *l = NULL;

    if (spare_lost_tables(plan, err) < 0)
        return -1;
    if (c->surplus.n_pages && (qb_counts_hold(&c->counts, sizeof(*l), err) < 0 ||
                               !(l = qb_plan_own(plan, QB_RULE_leaks, sizeof(*l), err))))
        return -1;
    for (size_t k = 0; k < c->surplus.n_pages; k++) {
        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
            uint64_t cluster = pages[k]->number * QB_PAGE_COUNTS + i;

            if (qb_page_count(pages[k], i) && qb_counts_get(&c->counts, cluster) == 0 &&
                free_cluster(plan, l, cluster, err) < 0)
                return -1;
        }
    }
    qb_counts_free(&c->surplus);
    return 0;
}

/* Where `repair` asks for it, what an earlier run kept for its undo is freed too.  What this run's
 * undo brings back are the old refcounts; the clusters stay as they are until then. */
static int lower(struct qb_plan *plan, struct qb_err *err)
{
    if (free_all(plan, err) < 0)
        return -1;
    plan->leaks.freed = true;
    return 0;
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    (void)err;
    /* An amend of the header alone looks for leaks only if they would make it refused. */
    if (plan->in.rq->on_leaks == QB_LEAKS_FAIL)
        plan->target.reach = QB_MAX(plan->target.reach, QB_REACH_LOOK);
    return 0;
}

static int check(struct qb_plan *plan, struct qb_err *err)
{
    if (plan->target.rebuild_counts)
        return free_all(plan, err);
    qb_kept_note(plan, plan->census.n_leaks);
    if (plan->leaks.clusters == 0)
        return 0;
    if (qb_mends(plan->in.rq, QB_REPAIR_LEAKS))
        return lower(plan, err);
    switch (plan->in.rq->on_leaks) {
    case QB_LEAKS_FAIL:
        return refuse(plan, err);
    case QB_LEAKS_FREE:
        /* The undo of an earlier run may need them; and where no refcount is written they would be
         * punched and counted still. */
        if (plan->in.rq->keep_undo || plan->target.reach == QB_REACH_LOOK)
            break;
        return lower(plan, err);
    case QB_LEAKS_KEEP:
        break;
    }
    return keep(plan, err);
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    const struct leaked *l = plan->own[QB_RULE_leaks];

    result->n_freed_listed = l ? l->n : 0;
    result->freed_first = l ? l->first : NULL;
}

const struct qb_rule qb_rule_leaks = {
    .name = "on_leaks", .probe = probe, .check = check, .report = report};
