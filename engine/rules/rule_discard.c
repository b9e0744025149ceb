/* Frees what an amend with keep_undo kept for its undo: the references that its old header has and
 * its new one has not.  Other leaks, and what the undo of another run needs, stay counted. */
#include "plan/release.h"
#include "plan/rule.h"
#include "base/own.h"
#include "chain/probe.h"

#include <string.h>

/* Clusters of one page of the old image's counts.  A guest may have freed some of them since, with
 * what referred to them in the amended image: no more references are dropped than are still kept.
 */
static int unkeep_page(struct qb_plan *plan, const struct qb_count_page *old, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    uint64_t base = old->number * QB_PAGE_COUNTS, cs = plan->in.img->geom.cluster_size;
    struct qb_counts_left left;

    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
        uint64_t wanted = qb_page_count(old, i), kept, refs, n;

        if (!wanted || !(kept = qb_counts_get(&plan->kept.counts, base + i)))
            continue;
        refs = qb_counts_get(counts, base + i) - kept;
        n = wanted > refs ? QB_MIN(wanted - refs, kept) : 0;
        if (n && (qb_counts_sub(&plan->kept.counts, base + i, 1, n, &left, err) < 0 ||
                  qb_plan_release(plan, (base + i) * cs, 1, n, err) < 0))
            return -1;
    }
    return 0;
}

static int unkeep(struct qb_plan *plan, struct qb_census *old, struct qb_err *err)
{
    struct qb_count_page *const *pages = qb_counts_pages(&old->counts);

    if (qb_census_tables_are_broken(old))
        return qb_fail(err, QB_E_CHANGED, old->first.offset,
                       "what was kept for an undo is not whole any more: %.200s", old->first.text);
    for (size_t n = 0; n < old->counts.n_pages; n++)
        if (unkeep_page(plan, pages[n], err) < 0)
            return -1;
    return 0;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    (void)img, (void)err;
    if (!rq->free_kept || strcmp(qb_probe_magic(rq->free_kept), "raw") == 0)
        return 0; /* of a raw disk nothing is kept but what the image has */
    t->reach = QB_REACH_TABLES;
    return 1;
}

static int release(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_io *io = plan->in.io;
    struct qb_image img;
    struct qb_census old = {0};
    int r;

    if (!qb_works(&plan->target, QB_RULE_discard))
        return 0;
    if (qb_image_open_as(io, plan->in.img->file, plan->in.rq->free_kept, &img, err) < 0)
        return -1;
    r = qb_image_read_snapshots(io, &img, err);
    if (r == 0)
        r = qb_census_count(io, &img, plan->in.rq->memory_limit, &old, err);
    if (r == 0)
        r = unkeep(plan, &old, err);
    qb_census_free(&old);
    qb_image_close(&img);
    return r;
}

const struct qb_rule qb_rule_discard = {
    .name = "discard-undo",
    .resolve = resolve,
    .release = release,
};
