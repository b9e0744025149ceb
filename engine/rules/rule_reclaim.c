/* reclaim: gives back the space of clusters that nothing refers to and whose refcount is 0, once
 * the amended image is durable: the census has proved that they are free.
 *
 * Only what takes space on disk is looked at, so that an image from which nothing can be had is
 * unchanged, however often it is asked for.  Space that was reserved and never written takes space
 * too, but was reserved on purpose: it stays unless the request names it. */
#include <sys/statvfs.h>

#include "plan/release.h"
#include "plan/rule.h"
#include "io/extents.h"

#define BLOCK_LEAST   512u   /* bytes that can be given back: the file system's block ... */
#define BLOCK_MOST    65536u /* ... if it says what that is */
#define BLOCK_UNKNOWN 4096u

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    if (!qb_asked(rq, QB_KEY_RECLAIM))
        return 0;
    if (rq->reclaim_reserved && !rq->reclaim_free)
        return QB_REFUSE("reclaim.reserved needs reclaim.free");
    if (!rq->reclaim_free)
        return 0;
    if (img->header.crypt_method)
        return QB_CANNOT("reclaim of an encrypted image");
    t->reach = QB_REACH_TABLES;
    return 1; /* whether there is anything to give back, the census will say */
}

struct reclaim {
    struct qb_plan *plan;
    uint64_t block;  /* unit in which the file system gives back space, bytes */
    uint64_t looked; /* everything before it was looked at, bytes */
};

static uint64_t block_of(const struct qb_file *file)
{
    struct statvfs fs;

    if (file->is_block_device || file->fd < 0 || fstatvfs(file->fd, &fs) < 0 ||
        (fs.f_frsize & (fs.f_frsize - 1)))
        return BLOCK_UNKNOWN;
    return QB_MIN(QB_MAX(fs.f_frsize, BLOCK_LEAST), BLOCK_MOST);
}

/* The first cluster from `at` on, but at most `end`, that is counted or is not. */
static uint64_t next(struct qb_counts *counts, uint64_t at, uint64_t end, bool counted)
{
    while (at < end) {
        const struct qb_count_page *p = qb_counts_page(counts, at);
        uint64_t page_end = QB_MIN(qb_round_up(at + 1, QB_PAGE_COUNTS), end);

        if (!p && !counted)
            return at;
        if (!p) {
            at = qb_counts_next(counts, at);
            continue;
        }
        for (; at < page_end; at++)
            if ((qb_page_count(p, at % QB_PAGE_COUNTS) != 0) == counted)
                return at;
    }
    return end;
}

/* Free clusters, as bytes of the file: whole blocks of them are given back. */
static int give_back(struct reclaim *r, struct qb_range free, struct qb_range extent,
                     struct qb_err *err)
{
    struct qb_plan *plan = r->plan;
    uint64_t first = qb_round_up(free.first, r->block), end = free.end - free.end % r->block;

    if (first >= end || QB_MIN(end, extent.end) <= QB_MAX(first, extent.first))
        return 0;
    plan->reclaim.bytes += QB_MIN(end, extent.end) - QB_MAX(first, extent.first);
    return qb_counts_push(&plan->census.counts, &plan->freed.punches, err,
                          (struct qb_range){first, end});
}

/* What of an extent goes when the file is cut. */
static void note_tail(struct qb_plan *plan, struct qb_range extent)
{
    uint64_t first = QB_MAX(extent.first, plan->reclaim.end);

    if (!plan->in.img->file->is_block_device && first < extent.end)
        plan->reclaim.bytes += extent.end - first;
}

/* An extent that takes space on disk, in the order of the file. */
static int look(struct reclaim *r, struct qb_range extent, struct qb_err *err)
{
    struct qb_plan *plan = r->plan;
    uint64_t cs = plan->in.img->geom.cluster_size;
    uint64_t at = QB_MAX(extent.first, r->looked) / cs;
    uint64_t end = qb_round_up(QB_MIN(extent.end, plan->place.base), cs) / cs;

    note_tail(plan, extent);
    while (at < end) {
        struct qb_range free = {.first = next(&plan->census.counts, at, end, false)};

        free.end = next(&plan->census.counts, free.first, end, true);
        at = free.end;
        free = (struct qb_range){free.first * cs, free.end * cs};
        if (qb_io_go_on(plan->in.io, err) < 0 ||
            (free.first < free.end && give_back(r, free, extent, err) < 0))
            return -1;
    }
    r->looked = QB_MAX(r->looked, extent.end);
    return 0;
}

static int look_at_extent(void *arg, const struct qb_extent *extent, struct qb_err *err)
{
    struct reclaim *r = arg;
    struct qb_plan *plan = r->plan;

    if (extent->unwritten && !plan->in.rq->reclaim_reserved)
        return 0;
    plan->reclaim.past_end |= extent->end > qb_round_up(plan->in.img->file->size, r->block);
    return look(r, (struct qb_range){extent->first, extent->end}, err);
}

/* A file is not cut within space that is reserved. */
static int keep_reserved(void *arg, const struct qb_extent *extent, struct qb_err *err)
{
    struct qb_plan *plan = arg;

    (void)err;
    if (extent->unwritten && extent->first < plan->in.img->file->size)
        plan->reclaim.end = QB_MAX(plan->reclaim.end, extent->end);
    return 0;
}

/* Everything has its place: nothing is counted past the new zeros. */
static int placed(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_file *file = plan->in.img->file;
    struct qb_io *io = plan->in.io;
    struct reclaim r = {plan, block_of(file), 0};

    if (!qb_works(&plan->target, QB_RULE_reclaim))
        return 0;
    plan->reclaim.asked = true;
    plan->reclaim.end = plan->zeros.base + plan->zeros.len;
    if (!plan->in.rq->reclaim_reserved &&
        qb_extents_each(io, file, plan->reclaim.end, keep_reserved, plan, err) < 0)
        return -1;
    return qb_extents_each(io, file, 0, look_at_extent, &r, err);
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->reclaimed_bytes = plan->reclaim.bytes;
}

const struct qb_rule qb_rule_reclaim = {
    .name = "reclaim", .resolve = resolve, .placed = placed, .report = report};
