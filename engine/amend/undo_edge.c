/* Sizes, in the proof of an undo: nothing was written past the old disk's end, and what a shrink
 * cut off within its last cluster shows again as it did. */
#include "amend/undo_prove.h"

#include "base/own.h"
#include "qcow2/chain.h"

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

/* Whether an entry's cluster has nothing but zeros from byte `used` on; what is unallocated is the
 * caller's matter. */
static int has_zero_tail(struct qb_proving *p, const struct qb_image *img, uint64_t entry,
                         uint64_t used, bool *zero)
{
    uint64_t cs = img->geom.cluster_size;
    enum qb_kind kind = qb_l2_kind(&img->geom, entry);
    QB_AUTO(qb_buf) uint8_t *buf = NULL;

    *zero = true;
    if (kind != QB_DATA && kind != QB_COMPRESSED)
        return 0;
    buf = malloc(cs);
    if (!buf)
        return qb_fail_memory(p->err);
    if (qb_image_read_cluster(p->io, img, entry, buf, p->err) < 0)
        return -1;
    *zero = qb_all_zero(buf + used, cs - used);
    return 0;
}

/* The old disk's last cluster, where it is there in part and was not copied. */
static int look_at_tail(struct qb_proving *p)
{
    uint64_t used = p->old.header.size % p->old.geom.cluster_size, entry, at;
    bool zero;

    if (used == 0)
        return 0;
    if (qb_image_lookup(p->io, &p->now, p->old.header.size - used, &entry, &at, p->err) < 0)
        return -1;
    if (qb_l2_kind(&p->now.geom, entry) == QB_DATA &&
        qb_proof_is_new(p->proof, entry & QB_ENTRY_OFFSET))
        return 0;
    if (has_zero_tail(p, &p->now, entry, used, &zero) < 0)
        return -1;
    return zero ? 0
                : qb_undo_refuse(p, entry & QB_ENTRY_OFFSET,
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

/* A guest that zeroes, discards or compresses the last cluster of a smaller disk does so with all
 * of it.  What was cut off there was either zeros, which the cluster then still has to hold, or the
 * backing file's, and then nothing may have been allocated. */
static int look_at_cut_cluster(struct qb_proving *p)
{
    uint64_t used = p->now.header.size % p->now.geom.cluster_size, entry, at;
    uint64_t was = p->proof->last_entry;
    bool is_backed = p->old.header.backing_offset != 0, kept = false;

    if (used == 0)
        return 0;
    if (qb_image_lookup(p->io, &p->old, p->now.header.size - used, &entry, &at, p->err) < 0)
        return -1;
    if (p->proof->cuts_cluster && (entry & ~QB_ENTRY_COPIED) == was)
        return 0;
    if (p->proof->cuts_cluster &&
        (!is_backed || (qb_l2_kind(&p->old.geom, was) != QB_UNALLOCATED &&
                        qb_l2_kind(&p->old.geom, entry) != QB_UNALLOCATED)) &&
        has_zero_tail(p, &p->old, entry, used, &kept) < 0)
        return -1;
    return kept ? 0
                : qb_undo_refuse(p, at, "the disk's last cluster, which the run cut, was replaced");
}

int qb_undo_look_beyond(struct qb_proving *p)
{
    if (p->now.header.size > p->old.header.size)
        return look_past_old_end(p);
    return p->now.header.size < p->old.header.size ? look_at_cut_cluster(p) : 0;
}
