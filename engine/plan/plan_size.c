/* Computes the file's lengths and what is punched, and refuses a plan that exceeds the free space
 * or a limit. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "plan/raw.h"
#include "base/units.h"

#define DEVICE_BLOCK 4096u /* unit in which block devices are discarded, bytes */
#define EXTENT_BLOCK 4096u /* unit in which file systems store maps of extents, bytes */

void qb_plan_join_punches(struct qb_plan *plan)
{
    size_t n = 0;

    qb_ranges_sort(plan->freed.punches.items, plan->freed.punches.n);
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

/* Punching a few clusters can cost more than their space is worth, unless that was asked for. */
static void drop_small_punches(struct qb_plan *plan)
{
    uint64_t bytes = 0;

    if (plan->reclaim.asked)
        return;
    qb_vec_each (r, &plan->freed.punches)
        bytes += r->end - r->first;
    if (QB_MIN(bytes, plan->in.img->file->allocated_at_open) < plan->in.rq->punch_min)
        plan->freed.punches.n = 0;
}

/* A device has the size that it has: what lies past the image is discarded. */
static int add_rest_of_device(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_file *file = plan->in.img->file;
    uint64_t end = qb_round_up(plan->place.end, DEVICE_BLOCK);
    struct qb_range rest = {end, file->size - file->size % DEVICE_BLOCK};

    if (!plan->reclaim.asked || !file->is_block_device || rest.first >= rest.end)
        return 0;
    plan->reclaim.bytes += rest.end - rest.first;
    return qb_counts_push(&plan->census.counts, &plan->freed.punches, err, rest);
}

/* Whether the amended image refers to a byte of [first, end), or keeps it counted. */
static bool is_in_use(struct qb_plan *plan, uint64_t first, uint64_t end)
{
    uint64_t cs = plan->in.img->geom.cluster_size;

    first /= cs;
    end = qb_div_up(end, cs);
    return qb_counts_any(&plan->census.counts, first, end) ||
           qb_counts_any(&plan->kept.counts, first, end);
}

/* Settling comes after verification, and nothing would notice what it took too much: whatever rules
 * and layout have decided, nothing goes that the amended image has. */
static int check_punches(struct qb_plan *plan, struct qb_err *err)
{
    qb_vec_each (r, &plan->freed.punches)
        if (is_in_use(plan, r->first, r->end))
            return qb_fail(err, QB_E_INTERNAL, r->first, "a range in use would be punched");
    return 0;
}

int qb_plan_finish_punches(struct qb_plan *plan, struct qb_clusters *clusters, struct qb_err *err)
{
    qb_plan_join_punches(plan);
    clusters->deallocated = plan->freed.n_unlisted;
    qb_vec_each (r, &plan->freed.punches)
        clusters->deallocated += (r->end - r->first) / plan->in.img->geom.cluster_size;
    drop_small_punches(plan);
    return add_rest_of_device(plan, err) < 0 ? -1 : check_punches(plan, err);
}

/* The lengths of a file that keeps its allocation.  A long stretch of new zeros is a hole all the
 * same, unless zero_method says otherwise: a small image that is all data looks like a reserved
 * one, and must not fill the disk. */
static void keep_allocation(struct qb_plan *plan)
{
    plan->size.cut = plan->size.old;
    plan->size.appended = QB_MAX(plan->size.appended, plan->size.old);
    plan->size.reserves_zeros = plan->zeros.how == QB_ZEROED_AUTO &&
                                plan->place.end - plan->place.zero_base <= plan->size.old;
    if (!plan->reclaim.asked)
        plan->freed.punches.n = 0;
}

/* What the write guard permits: the header's spare bytes, room inside the old image, and what is
 * past it. */
static int permit_append(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_place *p = &plan->place;
    const struct qb_sector *s = &plan->sector;
    struct qb_range name = {s->name_at, s->name_at + s->name_len};
    struct qb_range tail = {plan->size.reserved ? QB_MIN(p->base, plan->size.old) : p->base,
                            p->end};
    bool ok = true;

    plan->append_ranges.n = 0;
    if (s->name_at)
        ok = qb_vec_push(&plan->append_ranges, name);
    for (size_t i = 0; ok && i < p->room.n; i++)
        ok = qb_vec_push(&plan->append_ranges, p->room.items[i]);
    if (ok && plan->rewrites && p->base < p->end)
        ok = qb_vec_push(&plan->append_ranges, tail);
    return ok ? 0 : qb_fail_memory(err);
}

int qb_plan_sizes(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size, end = plan->place.end;
    bool shrinks = plan->target.header.size < plan->in.img->header.size;

    plan->size.old = plan->size.cut = plan->size.appended = qb_raw_length(plan->in.img);
    plan->appends = plan->rewrites || plan->sector.name_at || plan->data.writes;
    if (permit_append(plan, err) < 0)
        return -1;
    /* Where nothing goes past the old end, its last cluster may stay what it is of one. */
    if (plan->rewrites && plan->place.base == end)
        end = QB_MIN(end, plan->size.old);
    if (plan->rewrites) {
        plan->size.cut = QB_MIN(plan->place.base, end);
        plan->size.appended = end;
    }
    if (plan->size.reserved)
        keep_allocation(plan);
    plan->size.final = plan->size.appended;
    if (plan->reclaim.asked && !plan->in.img->file->is_block_device)
        plan->size.final = QB_MIN(plan->size.final, plan->reclaim.end);
    if (plan->size.reserved && shrinks && !plan->in.rq->keep_undo)
        plan->size.final = end;
    /* Other tools require whole sectors: an odd length is rounded up once the image is amended. */
    if (plan->size.final % QB_SECTOR && !plan->in.img->file->is_block_device)
        plan->size.final = qb_round_up(plan->size.final, cs);
    if (is_in_use(plan, qb_round_up(plan->size.final, cs),
                  QB_MAX(plan->size.old, plan->size.appended)))
        return qb_fail(err, QB_E_INTERNAL, plan->size.final, "a range in use would be cut off");
    return 0;
}

/* RLIMIT_FSIZE limits offsets, however little of the file is written. */
static int check_limit(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_file *file = plan->in.img->file;
    uint64_t limit = qb_file_limit(file), end = QB_SECTOR;
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];

    if (plan->sector.name_at)
        end = QB_MAX(end, plan->sector.name_at + plan->sector.name_len);
    if (plan->rewrites)
        end = QB_MAX(end, plan->size.appended);
    if (end <= limit)
        return 0;
    return qb_fail_sys(err, EFBIG, QB_NOWHERE,
                       "the amended file would have %s, and RLIMIT_FSIZE allows %s",
                       qb_text_size_exact(end, a), qb_text_size_exact(limit, b));
}

uint64_t qb_plan_space(const struct qb_plan *plan)
{
    bool holes = !plan->in.img->file->is_block_device && plan->zeros.how <= QB_ZEROED_HOLE &&
                 !plan->size.reserves_zeros;
    uint64_t first = plan->size.reserved ? plan->size.old : plan->place.base;
    uint64_t end = holes ? plan->place.zero_base : plan->place.end;
    uint64_t need = plan->rewrites && end > first ? end - first : 0;

    /* Free clusters may be holes. */
    if (holes)
        need += plan->place.n_bytes -
                QB_MIN(plan->place.zero_base - plan->place.base, plan->place.n_bytes);
    else
        qb_vec_each (r, &plan->place.room)
            need += r->end - r->first;

    /* Writing a part of reserved space splits its extent in the file system. */
    return need && plan->size.reserved ? need + EXTENT_BLOCK + need / 256 : need;
}

uint64_t qb_plan_growth(const struct qb_plan *plan)
{
    const struct qb_plan_data *data = &plan->data;
    uint64_t sum = 0;

    if (plan->in.img->file->is_block_device)
        sum = plan->rewrites ? plan->place.end - plan->place.base : 0;
    else if (plan->size.appended > plan->size.old)
        sum = plan->size.appended - plan->size.old;
    return sum + (data->appended > data->old ? data->appended - data->old : 0);
}

int qb_plan_check_free(const struct qb_plan *plan, uint64_t need, struct qb_err *err)
{
    const struct qb_file *file = plan->in.img->file;
    char has[QB_TEXT_NUMBER], wants[QB_TEXT_NUMBER];
    struct statvfs fs;
    uint64_t have;

    if (need == 0 || file->is_block_device || file->fd < 0 || fstatvfs(file->fd, &fs) < 0 ||
        fs.f_blocks == 0) /* FUSE without a statfs */
        return 0;
    have = (uint64_t)fs.f_frsize * (geteuid() == 0 ? fs.f_bfree : fs.f_bavail);
    if (need > have)
        return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE,
                       "the file system has %s free, and the amend needs %s",
                       qb_text_size(have, has), qb_text_size(need, wants));
    return 0;
}

/* Refuses before anything is written if the free space is known to be too small. */
static int check_space(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_file *file = plan->in.img->file;
    char has[QB_TEXT_NUMBER];
    uint64_t lacks;

    if (file->is_block_device && plan->size.appended > file->size) {
        lacks = plan->size.lacks = qb_round_up(plan->size.appended - file->size, QB_SECTOR);
        return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE,
                       "the device has %s, and the amended image needs %" PRIu64
                       " bytes more: for a logical volume, lvextend -L+%" PRIu64 "b",
                       qb_text_size_exact(file->size, has), lacks, lacks);
    }
    return qb_plan_check_free(plan, qb_plan_space(plan), err);
}

static int check_room(struct qb_plan *plan, struct qb_err *err)
{
    plan->size.lacks = 0;
    return check_limit(plan, err) < 0 ? -1 : check_space(plan, err);
}

int qb_plan_fit(struct qb_plan *plan, struct qb_err *err)
{
    return qb_plan_sizes(plan, err) < 0 ? -1 : check_room(plan, err);
}
