/* Finds out what has to become of the last cluster of what stays, where the disk's old or new end
 * lies inside it. */
#include <string.h>

#include "rules/resize_parts.h"
#include "qcow2/l2.h"

/* Reads the content of the cluster at guest byte `start` as the guest reads it. */
static int read_last(const struct qb_resizing *p, uint64_t start, const struct qb_l2_place *last,
                     uint8_t *buf, struct qb_err *err)
{
    if (last->kind != QB_UNALLOCATED && last->kind != QB_IDLE)
        return qb_image_read_own(p->io, p->img, last, buf, err);
    return qb_chain_read(p->io, p->chain, start, p->img->geom.cluster_size, buf, err);
}

/* Has the subclusters of a partial cluster read zero from byte `used` on, those of a backing file
 * too where it is longer than the disk (`backed`); *changed when any of them did not. */
static int cut_subclusters(const struct qb_resizing *p, uint64_t start, uint64_t used, bool backed,
                           uint8_t *buf, uint64_t *bitmap, bool *changed, struct qb_err *err)
{
    uint64_t sub = p->img->geom.cluster_size / QB_SUBCLUSTERS;

    for (unsigned i = (unsigned)(used / sub); i < QB_SUBCLUSTERS; i++) {
        uint64_t zero = UINT64_C(1) << (QB_SUBCLUSTERS + i), allocated = UINT64_C(1) << i;
        uint64_t keep = used > i * sub ? used - i * sub : 0;
        uint8_t *bytes = buf + i * sub;

        if (*bitmap & zero || (*bitmap & allocated ? p->img->geom.external_data : !backed))
            continue;
        if (!(*bitmap & allocated) &&
            qb_chain_read(p->io, p->chain, start + i * sub, sub, bytes, err) < 0)
            return -1;
        if (qb_all_zero(bytes + keep, sub - keep))
            continue;
        memset(bytes + keep, 0, sub - keep);
        *bitmap = (*bitmap & ~allocated) | (keep ? allocated : zero);
        *changed = true;
    }
    return 0;
}

/* Has all subclusters allocated, with what they show up to byte `used`. */
static int fill_subclusters(const struct qb_resizing *p, uint64_t start, uint64_t used,
                            uint8_t *buf, uint64_t *bitmap, struct qb_err *err)
{
    uint64_t sub = p->img->geom.cluster_size / QB_SUBCLUSTERS;

    for (unsigned i = 0; p->below && i * sub < used; i++)
        if (qb_l2_subcluster(*bitmap, i) == QB_SUB_UNALLOCATED &&
            qb_chain_read(p->io, p->below, start + i * sub, QB_MIN(sub, used - i * sub),
                          buf + i * sub, err) < 0)
            return -1;
    *bitmap = QB_ALL_ALLOCATED;
    return 0;
}

/* Has the cluster read zero from byte `used` on; *changed when it did not. */
static int cut_last(const struct qb_resizing *p, uint64_t start, uint64_t used, bool backed,
                    const struct qb_l2_place *last, uint8_t *buf, uint64_t *bitmap, bool *changed,
                    struct qb_err *err)
{
    uint64_t rest = p->img->geom.cluster_size - used;

    *changed = false;
    *bitmap = last->kind == QB_PARTIAL ? last->bitmap : QB_ALL_ALLOCATED;
    if (!(last->kind == QB_PARTIAL && p->img->geom.external_data) &&
        read_last(p, start, last, buf, err) < 0)
        return -1;
    if (last->kind == QB_PARTIAL) {
        if (cut_subclusters(p, start, used, backed, buf, bitmap, changed, err) < 0)
            return -1;
        return *changed && p->standard ? fill_subclusters(p, start, used, buf, bitmap, err) : 0;
    }
    *changed = !qb_all_zero(buf + used, rest);
    memset(buf + used, 0, rest);
    return 0;
}

/* What goes into the data file of a cluster that is there already: the subcluster that holds the
 * end, if the backing file showed in it.  It is moved to the buffer's beginning. */
static void place_part(const struct qb_geom *g, const struct qb_l2_place *last, uint64_t used,
                       uint8_t *buf, struct qb_resize *e)
{
    uint64_t sub = g->cluster_size / QB_SUBCLUSTERS, first = used / sub * sub;

    e->copies_in_place = true;
    if (last->kind != QB_PARTIAL)
        e->copy_part = (struct qb_range){0, g->cluster_size};
    else if ((uint32_t)e->copy_bitmap != (uint32_t)last->bitmap)
        e->copy_part = (struct qb_range){first, first + sub};
    memmove(buf, buf + e->copy_part.first, e->copy_part.end - e->copy_part.first);
}

/* The last cluster of what stays, if only a part of it does: past the end it must read zero, now
 * and when the disk grows again. */
int qb_resize_tail(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    uint64_t used = p->kept % g->cluster_size, start = p->kept - used;
    bool backed = p->chain && qb_chain_size(p->chain) > p->kept, unallocated;
    QB_AUTO(qb_buf) uint8_t *buf = NULL;
    struct qb_l2_place last;

    if (used == 0)
        return 0;
    if (qb_image_find(p->io, p->img, start, &last, err) < 0)
        return -1;
    if (g->external_data && (last.kind == QB_DATA || (last.kind == QB_PARTIAL && !backed)))
        return 0; /* data_file.c clears what is past the end */
    unallocated = last.kind == QB_UNALLOCATED || last.kind == QB_IDLE;
    if (last.kind == QB_ZERO_PLAIN || last.kind == QB_ZERO_ALLOCATED)
        return 0;
    /* Unallocated: growing must not show any part of a backing file that was invisible before. */
    if (unallocated && !backed)
        return 0;
    if ((unallocated || last.kind == QB_PARTIAL) && p->img->header.crypt_method)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "the new size needs a copy of the last cluster of an image with encryption");
    buf = malloc(g->cluster_size);
    if (!buf)
        return qb_fail_memory(err);
    if (cut_last(p, start, used, backed, &last, buf, &e->copy_bitmap, &e->copies, err) < 0)
        return -1;
    if (!e->copies)
        return 0;
    e->copy_cluster = start / g->cluster_size;
    if (g->external_data)
        place_part(g, &last, used, buf, e);
    if (!e->copies_in_place || e->copy_part.end)
        e->copy_bytes = qb_take(&buf);
    return 0;
}
