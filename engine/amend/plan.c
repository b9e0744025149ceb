#include "amend/plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/units.h"

#include "io/reserve.h"

#define EXTENT_BLOCK 4096u  /* where file systems keep their maps of extents, bytes */
#define SHARE_CAP    60000u /* leaves room below 65,535 for snapshots to come */

void qb_plan_free_append(struct qb_plan *plan)
{
    for (size_t i = 0; i < plan->place.steps.n; i++)
        free(plan->place.steps.items[i].bytes);
    for (size_t i = 0; i < plan->new_tables.list.n; i++)
        free(plan->new_tables.list.items[i].deferred);
    qb_vec_each (c, &plan->contents)
        free(c->bytes);
    qb_vec_free(&plan->contents);
    qb_vec_free(&plan->place.steps);
    qb_vec_free(&plan->new_tables.list);
    qb_vec_free(&plan->zeros.shared);
    qb_vec_free(&plan->blocks.list);
    qb_census_free(&plan->census);
    qb_resize_free(&plan->resize);
    free(plan->new_tables.of);
    free(plan->new_tables.gone);
    free(plan->place.l1_moved);
    free(plan->place.reftable);
    free(plan->blocks.touched);
    memset(&plan->census, 0, sizeof(plan->census));
    plan->new_tables.of = NULL;
    plan->new_tables.n_splits = 0;
    plan->new_tables.gone = plan->blocks.touched = NULL;
    plan->place.l1_moved = plan->place.reftable = NULL;
}

void qb_plan_free(struct qb_plan *plan)
{
    qb_plan_free_append(plan);
    qb_chain_close(&plan->below.chain);
    qb_vec_free(&plan->freed.punches);
    qb_counts_free(&plan->kept.counts);
}

int qb_plan_append_bytes(struct qb_plan *plan, struct qb_new_bytes bytes, size_t *index,
                         struct qb_err *err)
{
    *index = plan->contents.n;
    if (qb_vec_push(&plan->contents, bytes))
        return 0;
    free(bytes.bytes);
    return qb_fail_memory(err);
}

static int open_files(struct qb_io *io, struct qb_plan *plan, bool whole, struct qb_err *err)
{
    const struct qb_target *t = &plan->target;

    qb_chain_close(&plan->below.chain);
    if (qb_chain_open(io, plan->in.img->file->path, plan->in.img->file, t->backing_name,
                      t->backing_fmt, whole, &plan->below.chain, err) < 0)
        return -1;
    plan->below.size = qb_chain_size(&plan->below.chain);
    plan->below.known = true;
    plan->below.whole = whole;
    return 0;
}

/* Opens the target's backing chain, once: all of it where its content may be needed or the disk
 * grows over it, else only the nearest file, for its size. */
static int open_chain(struct qb_io *io, struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_target *t = &plan->target;
    uint64_t size = plan->in.img->header.size;
    bool whole = plan->in.rq->zero_clusters == QB_ZERO_DEFER ||
                 (t->resize && size % plan->in.img->geom.cluster_size);

    if (!t->backing_name[0] || plan->below.chain.n)
        return 0;
    if (plan->in.lent && !whole && !t->resize && !t->name_changes) {
        plan->below.size = qb_chain_size(plan->in.lent);
        plan->below.known = true;
        return 0;
    }
    if (open_files(io, plan, whole, err) < 0)
        return -1;
    if (!whole && t->resize && t->header.size > size && plan->below.size > size)
        return open_files(io, plan, true, err);
    return 0;
}

static bool snapshots_lack_size(const struct qb_image *img)
{
    for (size_t i = 0; i < img->snapshots.list.n; i++)
        if (!img->snapshots.list.items[i].has_disk_size)
            return true;
    return false;
}

/* Whether the request changes more than the header's sector and the backing name. */
static bool needs_census(const struct qb_plan *plan)
{
    const struct qb_target *t = &plan->target;

    if (t->repair || t->downgrade || t->new_width || t->unkeep)
        return true;
    if (t->resize && !qb_resize_is_header_only(&plan->resize))
        return true;
    return (t->upgrade || t->resize) && t->header.version == 3 && snapshots_lack_size(plan->in.img);
}

/* Only a count that agrees with the image's own tables is built upon; a dirty image's refcounts may
 * be anything, but its tables must be sound all the same. */
static int trust_census(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_census *c = &plan->census;
    bool ok = plan->target.repair ? !qb_census_is_broken(c) : qb_census_corruptions(c) == 0;

    if (!ok && plan->target.repair && !c->first.code)
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "the image's tables are damaged");
    if (!ok) {
        *err = c->first;
        return -1;
    }
    for (size_t i = 0; i < c->tables.n; i++)
        if (c->tables.items[i].crossed)
            return qb_fail(err, QB_E_CORRUPT, c->tables.items[i].offset,
                           "an L2 table is used for two different parts of the disk");
    return 0;
}

static int check_downgrade(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;

    if (!plan->target.downgrade)
        return 0;
    if (img->header.compression_type && plan->census.clusters.compressed)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "compat=0.10 knows no zstd clusters, and the image has %llu",
                       (unsigned long long)plan->census.clusters.compressed);
    return qb_target_check_snapshots(img, &plan->target, err);
}

/* Bitmaps that the amend does not drop must stay as valid as they are. */
static int check_bitmaps(struct qb_io *io, const struct qb_plan *plan, struct qb_err *err)
{
    bool fit = true;

    if (!plan->target.resize || plan->target.drop_bitmaps)
        return 0;
    if (qb_bitmaps_fit(io, plan->in.img, plan->target.header.size, &fit, err) < 0)
        return -1;
    if (!fit)
        return qb_fail(
            err, QB_E_UNSUPPORTED, QB_NOWHERE,
            "the persistent bitmaps would have to grow with the disk, which is not supported yet");
    return 0;
}

static int unref_range(void *arg, uint64_t offset, uint64_t len, const char *what,
                       struct qb_err *err)
{
    (void)what;
    return qb_plan_release(arg, offset, len, 1, err);
}

static int by_first(const void *a, const void *b)
{
    const struct qb_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* What can be given back afterwards, sorted, joined, and inside the old file. */
static void finish_punches(struct qb_plan *plan)
{
    size_t n = 0;

    if (plan->freed.punches.n)
        qsort(plan->freed.punches.items, plan->freed.punches.n, sizeof(*plan->freed.punches.items),
              by_first);
    for (size_t i = 0; i < plan->freed.punches.n; i++) {
        struct qb_range r = plan->freed.punches.items[i];

        r.end = QB_MIN(r.end, plan->place.base);
        if (r.first >= r.end)
            continue;
        if (n && plan->freed.punches.items[n - 1].end >= r.first)
            plan->freed.punches.items[n - 1].end =
                QB_MAX(plan->freed.punches.items[n - 1].end, r.end);
        else
            plan->freed.punches.items[n++] = r;
    }
    plan->freed.punches.n = n;
}

/* Giving back a few clusters can cost more than they are worth. */
static void drop_small_punches(struct qb_plan *plan)
{
    uint64_t bytes = 0;

    qb_vec_each (r, &plan->freed.punches)
        bytes += r->end - r->first;
    if (QB_MIN(bytes, plan->in.img->file->allocated_at_open) < plan->in.rq->punch_min)
        plan->freed.punches.n = 0;
}

static int plan_tables(struct qb_io *io, struct qb_plan *plan, struct qb_clusters *clusters,
                       struct qb_err *err)
{
    uint64_t limit = plan->in.rq->memory_limit ? plan->in.rq->memory_limit : QB_CENSUS_MEMORY;
    uint64_t zeros;

    limit -= QB_MIN(qb_image_memory(plan->in.img), limit - 1);
    if (qb_census_take_all(io, plan->in.img, limit, &plan->census, err) < 0 ||
        trust_census(plan, err) < 0 || qb_leaks_plan(plan, err) < 0 ||
        check_downgrade(plan, err) < 0 || qb_plan_unkeep(io, plan, err) < 0)
        return -1;
    *clusters = plan->census.clusters;
    zeros = clusters->zero_plain + clusters->zero_allocated;
    if (plan->target.downgrade && zeros && open_chain(io, plan, err) < 0)
        return -1;
    if (qb_new_tables_plan(io, plan, err) < 0)
        return -1;
    if (plan->target.drop_bitmaps &&
        qb_bitmaps_walk(io, plan->in.img, unref_range, NULL, plan, err) < 0)
        return -1;
    if (qb_layout_make(io, plan, err) < 0)
        return -1;
    finish_punches(plan);
    clusters->deallocated = plan->freed.n_unlisted;
    for (size_t i = 0; i < plan->new_tables.list.n; i++)
        clusters->expanded += plan->new_tables.list.items[i].n_new;
    for (size_t i = 0; i < plan->freed.punches.n; i++)
        clusters->deallocated +=
            (plan->freed.punches.items[i].end - plan->freed.punches.items[i].first) /
            plan->in.img->geom.cluster_size;
    drop_small_punches(plan);
    return 0;
}

/* RLIMIT_FSIZE is about offsets, whatever of the file is written. */
static int check_limit(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_file *file = plan->in.img->file;
    uint64_t limit = qb_file_limit(file), end = QB_SECTOR;

    if (plan->sector.name_at)
        end = QB_MAX(end, plan->sector.name_at + plan->sector.name_len);
    if (plan->rewrites)
        end = QB_MAX(end, plan->size.appended);
    if (end <= limit)
        return 0;
    return qb_fail_sys(err, EFBIG, QB_NOWHERE,
                       "the amend writes up to offset %llu, and RLIMIT_FSIZE allows %llu bytes",
                       (unsigned long long)end, (unsigned long long)limit);
}

/* An amend of the header alone looks for leaks only where they are a reason to refuse it. */
static int look_for_leaks(struct qb_io *io, struct qb_plan *plan, struct qb_clusters *clusters,
                          struct qb_err *err)
{
    int r = qb_census_take_all(io, plan->in.img, plan->in.rq->memory_limit, &plan->census, err);

    if (r == 0)
        r = trust_census(plan, err);
    if (r == 0)
        r = qb_leaks_plan(plan, err);
    *clusters = plan->census.clusters;
    qb_census_free(&plan->census);
    memset(&plan->census, 0, sizeof(plan->census));
    return r;
}

uint64_t qb_plan_space(const struct qb_plan *plan)
{
    bool holes = !plan->in.img->file->is_block_device &&
                 plan->in.rq->zero_method <= QB_ZEROED_HOLE && !plan->size.reserves_zeros;
    uint64_t first = plan->size.reserved ? plan->size.old : plan->place.base;
    uint64_t end = plan->zeros.base + (holes ? 0 : plan->zeros.len);
    uint64_t need = plan->rewrites && end > first ? end - first : 0;

    /* Reserved space that is written in part is more extents to the file system. */
    return need && plan->size.reserved ? need + EXTENT_BLOCK + need / 256 : need;
}

/* A disk that is known to be too full is refused before anything is written. */
static int check_space(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_file *file = plan->in.img->file;
    uint64_t need = qb_plan_space(plan), have;
    char has[QB_TEXT_NUMBER], wants[QB_TEXT_NUMBER];
    struct statvfs fs;

    if (file->is_block_device && plan->size.appended > file->size)
        return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE,
                       "the device has %s, and the amended image needs %llu bytes more",
                       qb_text_size(file->size, has),
                       (unsigned long long)(plan->size.appended - file->size));
    if (need == 0 || file->is_block_device || file->fd < 0 || fstatvfs(file->fd, &fs) < 0)
        return 0;
    have = (uint64_t)fs.f_frsize * (geteuid() == 0 ? fs.f_bfree : fs.f_bavail);
    if (need > have)
        return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE,
                       "the file system has %s free, and the amend needs %s",
                       qb_text_size(have, has), qb_text_size(need, wants));
    return 0;
}

/* Of a file that keeps its allocation.  A long stretch of new zeros is a hole all the same, unless
 * zero_method says otherwise: a small image that is all data looks like a reserved one, and must
 * not fill the disk. */
static void keep_allocation(struct qb_plan *plan)
{
    plan->size.cut = plan->size.old;
    plan->size.appended = QB_MAX(plan->size.appended, plan->size.old);
    plan->size.reserves_zeros =
        plan->in.rq->zero_method == QB_ZEROED_AUTO && plan->zeros.len <= plan->size.old;
    plan->freed.punches.n = 0;
}

static void plan_sizes(struct qb_plan *plan)
{
    uint64_t cs = plan->in.img->geom.cluster_size, end = plan->zeros.base + plan->zeros.len;
    bool shrinks = plan->target.header.size < plan->in.img->header.size;

    plan->size.old = plan->size.cut = plan->size.appended = plan->in.img->file->size;
    plan->appends = plan->rewrites || plan->sector.name_at;
    if (plan->rewrites) {
        plan->size.cut = plan->place.base;
        plan->size.appended = end;
        plan->append_ranges[plan->n_append_ranges++] = (struct qb_range){
            plan->size.reserved ? QB_MIN(plan->place.base, plan->size.old) : plan->place.base, end};
    }
    if (plan->size.reserved)
        keep_allocation(plan);
    plan->size.final = plan->size.appended;
    if (plan->size.reserved && shrinks && !plan->in.rq->keep_undo)
        plan->size.final = end;
    /* Other tools want whole sectors: an odd length is rounded up once the image is amended. */
    if (plan->size.final % QB_SECTOR && !plan->in.img->file->is_block_device)
        plan->size.final = qb_round_up(plan->size.final, cs);
}

static int plan_sector(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_target *t = &plan->target;

    memcpy(plan->old_sector, plan->in.img->head, QB_SECTOR);
    if (t->resize)
        t->header.l1_size = plan->resize.l1_size;
    if (qb_sector_compose(plan->in.img, t, plan->rewrites, &plan->sector, err) < 0)
        return -1;
    if (qb_keep_plan_proof(plan, err) < 0)
        return -1;
    if (plan->sector.name_at)
        plan->append_ranges[plan->n_append_ranges++] =
            (struct qb_range){plan->sector.name_at, plan->sector.name_at + plan->sector.name_len};
    plan_sizes(plan);
    return check_limit(plan, err) < 0 ? -1 : check_space(plan, err);
}

int qb_plan_make(struct qb_io *io, const struct qb_image *img, const struct qb_request *rq,
                 const struct qb_target *target, const struct qb_chain *lent, struct qb_plan *plan,
                 struct qb_clusters *clusters, struct qb_err *err)
{
    const struct qb_target *t = &plan->target;

    *plan = (struct qb_plan){.in = {io, img, rq, lent}, .target = *target};
    plan->zeros.share_cap = SHARE_CAP;
    plan->kept.counts.memory_limit = rq->memory_limit;
    plan->resize.l1_keep = plan->resize.l1_size = img->header.l1_size;
    if (t->name_changes && t->backing_name[0] &&
        qb_chain_names(img->file->path, t->backing_name, img->file))
        return qb_fail(err, QB_E_BACKING_LOOP, QB_NOWHERE,
                       "the backing file %s is the image itself", t->backing_name);
    if (t->resize && t->header.size > img->header.size && open_chain(io, plan, err) < 0)
        return -1;
    if (qb_keep_check(plan, err) < 0 || check_bitmaps(io, plan, err) < 0 ||
        qb_resize_probe(io, img, t, plan->below.chain.n ? &plan->below.chain : NULL,
                        rq->memory_limit, &plan->resize, err) < 0)
        return -1;
    if (plan->resize.copies &&
        qb_plan_append_bytes(plan,
                             (struct qb_new_bytes){.bytes = qb_take(&plan->resize.copy_bytes),
                                                   .len = img->geom.cluster_size,
                                                   .what = "the last cluster, zero behind the "
                                                           "disk's end"},
                             &plan->resize.copy_source, err) < 0)
        return -1;
    if (needs_census(plan)
            ? plan_tables(io, plan, clusters, err) < 0
            : rq->on_leaks == QB_LEAKS_FAIL && look_for_leaks(io, plan, clusters, err) < 0)
        return -1;
    if (plan->rewrites && qb_file_is_reserved(io, img->file, &plan->size.reserved, err) < 0)
        return -1;
    return plan_sector(plan, err);
}
