/* reclaim: gives back the space of clusters that nothing refers to and whose refcount is 0, once
 * the amended image is durable: the census has proved that they are free.
 *
 * Only what takes space on disk is looked at, so that an image from which nothing can be had is
 * unchanged, however often it is asked for.  Space that was reserved and never written takes space
 * too, but was reserved on purpose: it stays unless the request names it. */
#include <string.h>
#include <sys/statvfs.h>

#include "plan/release.h"
#include "rules/compact.h"
#include "rules/reclaim.h"

#define BLOCK_LEAST      512u   /* bytes that can be given back: the file system's block ... */
#define BLOCK_MOST       65536u /* ... if it says what that is */
#define BLOCK_UNKNOWN    4096u

#define CLUSTERS_AT_ONCE (UINT64_C(1) << 20) /* between two questions whether to go on */

static bool preallocates(const struct qb_request *rq)
{
    return qb_asked(rq, QB_KEY_PREALLOCATION) && strcmp(qb_text_of(rq->preallocation), "off") != 0;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    if (!qb_asked(rq, QB_KEY_RECLAIM))
        return 0;
    if (rq->reclaim_reserved && !rq->reclaim_free && !rq->reclaim_zeros && !rq->reclaim_compact)
        return QB_REFUSE("reclaim.reserved needs reclaim.free, reclaim.zeros or reclaim.compact");
    if (!rq->reclaim_free && !rq->reclaim_zeros && !rq->reclaim_compact)
        return 0;
    if (img->header.crypt_method)
        return QB_CANNOT("reclaim of an encrypted image");
    if (rq->reclaim_zeros && img->geom.external_data)
        return QB_CANNOT("reclaim.zeros of an image with an external data file");
    if (rq->reclaim_compact && rq->keep_undo)
        return QB_CANNOT(
            "keep_undo: an undo of reclaim.compact could not bring back what was moved");
    if (rq->reclaim_zeros && preallocates(rq))
        return QB_REFUSE("reclaim.zeros takes the places that preallocation gives");
    t->reach = QB_REACH_TABLES;
    return 1; /* whether there is anything to give back, the census will say */
}

/* ---- zeros ----------------------------------------------------------------------------------- */

/* Whether a cluster that is unallocated may read something else; in tables of another geometry it
 * does not, but there the comparison of content holds zero clusters to be zero clusters. */
static bool needs_zero_flag(const struct qb_plan *plan)
{
    return plan->target.backing_name[0] ||
           (qb_plan_converts(plan) && plan->target.header.version == 3);
}

static int becomes_zero(struct qb_visit *v, const uint8_t *table, uint64_t i, uint64_t guest,
                        bool *zero, struct qb_err *err)
{
    const struct qb_zeros *z = v->plan->own[QB_RULE_reclaim];
    const struct qb_geom *g = &v->plan->in.img->geom;
    enum qb_kind kind = qb_l2_kind_at(g, table, i);
    uint64_t cluster = (qb_l2_get(g, table, i, 0) & QB_ENTRY_OFFSET) >> g->cluster_bits;

    if (kind == QB_PARTIAL && v->plan->in.rq->keep_undo)
        return 0; /* it is copied: an undo has no proof but of bytes that are all in one place */
    if (kind == QB_PARTIAL)
        return qb_zeros_in_copy(v, table, i, guest, zero, err);
    *zero = kind == QB_ZERO_ALLOCATED || (kind == QB_DATA && qb_zeros_have(z, cluster));
    return 0;
}

/* Notes which entries of a table read zero.  VM state stays as it is. */
static int mark_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    struct qb_plan *plan = v->plan;
    struct qb_zeros *z = plan->own[QB_RULE_reclaim];
    const struct qb_geom *g = &plan->in.img->geom;
    size_t source = v->tables.items[index];
    uint64_t guest = plan->census.tables.items[source].l1_index * g->l1_span;

    for (uint64_t i = 0; i < g->l2_entries; i++, guest += g->cluster_size) {
        bool zero = false;

        if (guest >= plan->in.img->header.size)
            break;
        if (becomes_zero(v, table, i, guest, &zero, err) < 0)
            return -1;
        if (!zero)
            continue;
        if (!z->of[source] && qb_counts_hold(&plan->census.counts, g->l2_entries / 8, err) < 0)
            return -1;
        if (!z->of[source] && !(z->of[source] = calloc(1, g->l2_entries / 8)))
            return qb_fail_memory(err);
        z->of[source][i / 8] |= (uint8_t)(1u << (i % 8));
    }
    return z->of[source] && !plan->new_tables.of[source] ? qb_new_replace(plan, source, err) : 0;
}

static struct qb_zeros *make_zeros(struct qb_plan *plan, struct qb_err *err)
{
    size_t n = plan->census.tables.n;
    struct qb_zeros *z = qb_plan_own(plan, QB_RULE_reclaim, sizeof(*z), err);

    if (!z || qb_counts_hold(&plan->census.counts, n * sizeof(*z->of), err) < 0)
        return NULL;
    z->of = calloc(n ? n : 1, sizeof(*z->of));
    z->n_tables = z->of ? n : 0;
    if (!z->of)
        qb_fail_memory(err);
    return z->of ? z : NULL;
}

static int find_zeros(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    struct qb_zeros *z;

    if (!qb_works(&plan->target, QB_RULE_reclaim) || !plan->in.rq->reclaim_zeros ||
        (plan->target.header.version == 2 && needs_zero_flag(plan)))
        return 0;
    z = make_zeros(plan, err);
    if (!z || qb_zeros_find(plan, z, err) < 0)
        return -1;
    v->tables.n = 0;
    for (size_t i = 0; i < plan->census.tables.n; i++) {
        const struct qb_table_note *note = &plan->census.notes[i];

        if (!plan->new_tables.gone[i] && note->data + note->zero_allocated &&
            qb_counts_push(&plan->census.counts, &v->tables, err, i) < 0)
            return -1;
    }
    return qb_visit_scan(v, true, mark_table, err);
}

static int tables(struct qb_visit *v, struct qb_err *err)
{
    if (find_zeros(v, err) < 0)
        return -1;
    return qb_compact_works(v->plan) ? qb_compact_plan(v, err) : 0;
}

static void entries(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    const struct qb_zeros *z = plan->own[QB_RULE_reclaim];
    const uint8_t *bits = z && t->source != QB_NO_TABLE ? z->of[t->source] : NULL;
    uint64_t at = e->first, end = e->first + e->n;
    bool zero;

    if (!bits || e->fate != QB_FATE_KEEP || !qb_l2_has_host(e->kind) || e->kind == QB_IDLE)
        return;
    zero = bits[at / 8] >> (at % 8) & 1;
    while (at < end && (bits[at / 8] >> (at % 8) & 1) == zero)
        at++;
    e->n = at - e->first;
    if (zero)
        e->fate = needs_zero_flag(plan) ? QB_FATE_ZERO : QB_FATE_UNALLOCATE;
}

/* Entries of one kind have several fates: each table is walked, not judged by its note. */
static bool looks(const struct qb_plan *plan)
{
    return plan->own[QB_RULE_reclaim] != NULL;
}

static int look(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err)
{
    (void)v, (void)t, (void)source, (void)err;
    return 0;
}

static void drop(void *own)
{
    struct qb_zeros *z = own;

    for (size_t i = 0; i < z->n_tables; i++)
        free(z->of[i]);
    z->n_tables = 0;
    free(z->of);
    z->of = NULL;
    qb_vec_free(&z->runs);
}

/* ---- free clusters --------------------------------------------------------------------------- */

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
        uint64_t page_end = qb_min(qb_round_up(at + 1, QB_PAGE_COUNTS), end);

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
    return qb_counts_push(&plan->census.counts, &plan->freed.punches, err,
                          (struct qb_range){first, end});
}

/* An extent that takes space on disk, in the order of the file. */
static int look_at(struct reclaim *r, struct qb_range extent, struct qb_err *err)
{
    struct qb_plan *plan = r->plan;
    uint64_t cs = plan->in.img->geom.cluster_size;
    uint64_t at = QB_MAX(extent.first, r->looked) / cs;
    uint64_t end = qb_round_up(QB_MIN(extent.end, plan->place.base), cs) / cs;

    while (at < end) {
        uint64_t piece = qb_min(qb_round_up(at + 1, CLUSTERS_AT_ONCE), end);
        struct qb_range free = {.first = next(&plan->census.counts, at, piece, false)};

        free.end = next(&plan->census.counts, free.first, piece, true);
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
    return look_at(r, (struct qb_range){extent->first, extent->end}, err);
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
    struct reclaim r = {.plan = plan, .block = block_of(file)};
    struct qb_extent_list list;

    if (!qb_works(&plan->target, QB_RULE_reclaim))
        return 0;
    plan->reclaim.asked = true;
    plan->reclaim.end = plan->image_end;
    if (qb_compact_foresee(plan, err) < 0)
        return -1;
    qb_extents_list(file, &list);
    if (!plan->in.rq->reclaim_reserved &&
        qb_extents_each_listed(&list, io, file, plan->reclaim.end, keep_reserved, plan, err) < 0)
        return -1;
    if (qb_extents_each_listed(&list, io, file, 0, look_at_extent, &r, err) < 0)
        return -1;
    qb_plan_join_punches(plan);
    return qb_reclaim_count(plan, r.block, &list, err);
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->reclaimed_bytes = plan->reclaim.bytes;
    result->moved_bytes = plan->reclaim.moved;
}

const struct qb_rule qb_rule_reclaim = {
    .name = "reclaim",
    .resolve = resolve,
    .tables = tables,
    .looks = looks,
    .look = look,
    .entries = entries,
    .placed = placed,
    .report = report,
    .drop = drop,
};
