/* Proves for an undo that nothing was written past the old disk's end, and that what a shrink cut
 * off within its last cluster will be visible again unchanged. */
#include "undo/undo_prove.h"

#include "base/own.h"
#include "chain/chain.h"

/* ---- past the old disk's end ----------------------------------------------------------------- */

/* A table that both images use, with entries past the old end. */
static int look_at_table(struct qb_proving *p, const struct qb_l2_table *t, uint64_t end,
                         uint8_t *table)
{
    const struct qb_geom *g = &p->now.geom;
    uint64_t first = t->l1_index * g->l2_entries, from = end > first ? end - first : 0;

    if (qb_undo_read_table(p, t->offset, table) < 0)
        return -1;
    return qb_all_zero(table + from * g->l2_entry_size, (g->l2_entries - from) * g->l2_entry_size)
               ? 0
               : qb_undo_refuse(p, t->offset, "the disk was written past its old end");
}

/* Whether an entry's cluster has nothing but zeros from byte `used` on; the caller handles
 * unallocated ones. */
static int has_zero_tail(struct qb_proving *p, const struct qb_image *img,
                         const struct qb_l2_place *place, uint64_t used, bool *zero)
{
    uint64_t cs = img->geom.cluster_size;
    QB_AUTO(qb_buf) uint8_t *buf = NULL;

    *zero = true;
    if ((place->kind != QB_DATA && place->kind != QB_COMPRESSED && place->kind != QB_PARTIAL) ||
        img->geom.external_data)
        return 0; /* a data file is looked at by undo_data.c */
    buf = malloc(cs);
    if (!buf)
        return qb_fail_memory(p->err);
    if (qb_image_read_own(p->io, img, place, buf, p->err) < 0)
        return -1;
    *zero = qb_all_zero(buf + used, cs - used);
    return 0;
}

/* Checks the old disk's last cluster, where it is partial and was not copied. */
static int look_at_tail(struct qb_proving *p)
{
    uint64_t used = p->old.header.size % p->old.geom.cluster_size;
    struct qb_l2_place place;
    bool zero;

    if (used == 0)
        return 0;
    if (qb_image_find(p->io, &p->now, p->old.header.size - used, &place, p->err) < 0)
        return -1;
    if (qb_l2_has_host(place.kind) && qb_proof_is_new(p->proof, place.entry & QB_ENTRY_OFFSET))
        return 0;
    if (has_zero_tail(p, &p->now, &place, used, &zero) < 0)
        return -1;
    return zero ? 0
                : qb_undo_refuse(p, place.entry & QB_ENTRY_OFFSET,
                                 "the disk was written past its old end");
}

static int look_past_old_end(struct qb_proving *p)
{
    const struct qb_tables *tables = &p->now_refs.tables;
    uint64_t end = qb_geom_clusters(&p->now.geom, p->old.header.size);
    QB_AUTO(qb_buf) uint8_t *buf = malloc(p->now.geom.cluster_size);

    if (!buf)
        return qb_fail_memory(p->err);
    for (size_t i = 0; i < tables->n; i++) {
        const struct qb_l2_table *t = &tables->items[i];

        if (t->active && (t->l1_index + 1ull) * p->now.geom.l2_entries > end &&
            !qb_proof_is_new(p->proof, t->offset) && look_at_table(p, t, end, buf) < 0)
            return -1;
    }
    return look_at_tail(p);
}

/* The subclusters, all of them alike in a standard entry, that an entry leaves to the backing file.
 */
static uint32_t shows_below(const struct qb_geom *g, uint64_t entry, uint64_t bitmap)
{
    if (qb_l2_kind(g, entry) == QB_COMPRESSED)
        return 0;
    if (g->l2_entry_size == 8)
        return qb_l2_kind(g, entry) == QB_UNALLOCATED ? UINT32_MAX : 0;
    return ~(uint32_t)(bitmap | bitmap >> QB_SUBCLUSTERS);
}

/* Whether the entry leaves from byte `used` of its cluster on to the backing file what it left to
 * it before the amend. */
static bool shows_as_before(const struct qb_proving *p, const struct qb_l2_place *place,
                            uint64_t used)
{
    const struct qb_geom *g = &p->old.geom;
    uint32_t tail = UINT32_MAX << (used / (g->cluster_size / QB_SUBCLUSTERS));
    uint32_t differ = shows_below(g, place->entry, place->bitmap) ^
                      shows_below(g, p->proof->last_entry, p->proof->last_bitmap);

    return p->old.header.backing_offset == 0 || (differ & tail) == 0;
}

/* A guest that zeroes, discards or compresses the last cluster of a smaller disk does so with all
 * of it.  The bytes cut off were either zeros, and then the cluster must still hold them, or the
 * backing file's, and then nothing may have been allocated.  (Other bytes the amend copied away,
 * and the table that leads to them with them: it is the old image's alone.) */
static int look_at_cut_cluster(struct qb_proving *p)
{
    uint64_t used = p->now.header.size % p->now.geom.cluster_size;
    struct qb_l2_place place, now;
    bool kept = false;

    if (used == 0)
        return 0;
    if (qb_image_find(p->io, &p->old, p->now.header.size - used, &place, p->err) < 0 ||
        qb_image_find(p->io, &p->now, p->now.header.size - used, &now, p->err) < 0)
        return -1;
    if (p->proof->cuts_cluster && place.at != now.at)
        kept = (place.entry & ~QB_ENTRY_COPIED) == p->proof->last_entry;
    else if (p->proof->cuts_cluster && shows_as_before(p, &place, used) &&
             has_zero_tail(p, &p->old, &place, used, &kept) < 0)
        return -1;
    return kept ? 0
                : qb_undo_refuse(p, place.at,
                                 "the disk's last cluster, which the run cut, was replaced");
}

int qb_undo_look_beyond(struct qb_proving *p)
{
    if (p->now.header.size > p->old.header.size)
        return look_past_old_end(p);
    return p->now.header.size < p->old.header.size ? look_at_cut_cluster(p) : 0;
}
