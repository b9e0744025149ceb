/* Proves for an undo that in every layer both headers map every cluster alike. */
#include "undo/undo_prove.h"

#include <string.h>

#include "base/own.h"
#include "qcow2/chain.h"

/* An L1 entry, without its flags. */
struct l1_entry {
    uint32_t index;
    uint64_t offset;
};
typedef QB_VEC(struct l1_entry) l1_list;

/* The tables of one part of a disk under the two headers; offset 0: none. */
struct pair {
    uint64_t old, now;
    uint32_t l1_index;
    bool active;
};

struct maps {
    struct qb_proving *p;
    QB_VEC(struct pair) pairs;
    uint8_t *old, *now; /* a table each */
    uint64_t kept;      /* bytes of the active disk that both sizes have */
    uint64_t shown;     /* see find_shown */
    bool shown_known;
};

static bool is_resized(const struct qb_proving *p)
{
    return p->old.header.size != p->now.header.size;
}

/* ---- which tables ---------------------------------------------------------------------------- */

static int note_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    l1_list *list = arg;
    struct l1_entry e = {index, entry & QB_ENTRY_OFFSET};

    return e.offset == 0 || qb_vec_push(list, e) ? 0 : qb_fail_memory(err);
}

static int note_pair(struct maps *m, unsigned layer, uint32_t index, uint64_t old, uint64_t now)
{
    struct pair pair = {old, now, index, layer == 0};

    return old == now || qb_vec_push(&m->pairs, pair) ? 0 : qb_fail_memory(m->p->err);
}

/* Both lists ascend. */
static int join(struct maps *m, unsigned layer, const l1_list *old, const l1_list *now)
{
    size_t i = 0, k = 0;
    int r = 0;

    while (r == 0 && (i < old->n || k < now->n)) {
        const struct l1_entry *a = i < old->n ? &old->items[i] : NULL;
        const struct l1_entry *b = k < now->n ? &now->items[k] : NULL;
        uint32_t index = !b || (a && a->index <= b->index) ? a->index : b->index;
        bool in_old = a && a->index == index, in_now = b && b->index == index;

        r = note_pair(m, layer, index, in_old ? a->offset : 0, in_now ? b->offset : 0);
        i += in_old;
        k += in_now;
    }
    return r;
}

static int pair_layer(struct maps *m, unsigned old_layer, unsigned now_layer)
{
    struct qb_proving *p = m->p;
    struct qb_layer a = qb_image_layer(&p->old, old_layer), b = qb_image_layer(&p->now, now_layer);
    l1_list old = {0}, now = {0};
    int r = 0;

    if (a.l1_offset == b.l1_offset) /* the same bytes */
        return 0;
    if (qb_image_scan_entries(&(struct qb_entry_scan){p->io, &p->old, a.l1_offset, a.l1_size,
                                                      "an L1 table", note_entry, &old},
                              p->err) < 0 ||
        qb_image_scan_entries(&(struct qb_entry_scan){p->io, &p->now, b.l1_offset, b.l1_size,
                                                      "an L1 table", note_entry, &now},
                              p->err) < 0)
        r = -1;
    if (r == 0)
        r = join(m, old_layer, &old, &now);
    qb_vec_free(&old);
    qb_vec_free(&now);
    return r;
}

static int by_place(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;

    if (x->old != y->old)
        return x->old < y->old ? -1 : 1;
    if (x->now != y->now)
        return x->now < y->now ? -1 : 1;
    return x->active - y->active;
}

/* ---- two tables ------------------------------------------------------------------------------ */

int qb_undo_read_table(struct qb_proving *p, uint64_t offset, uint8_t *table)
{
    uint64_t cs = p->now.geom.cluster_size;
    struct qb_range part = {0};

    if (offset)
        part = qb_file_data_part(p->now.file, offset, cs);
    memset(table, 0, cs);
    if (part.first >= part.end)
        return 0;
    return qb_io_read(p->io, p->now.file, part.first, table + (part.first - offset),
                      part.end - part.first, "an L2 table", p->err);
}

/* Guest bytes from which on the old image's backing file shows nothing. */
static int find_shown(struct maps *m)
{
    const struct qb_image *old = &m->p->old;
    struct qb_chain chain = {0};

    if (m->shown_known)
        return 0;
    if (old->backing_name[0]) {
        if (qb_chain_open(m->p->io, old->file->path, old->file, old->backing_name, old->backing_fmt,
                          QB_CHAIN_NEAREST | QB_CHAIN_ASSUME, &chain, m->p->err) < 0)
            return -1;
        m->shown = qb_chain_size(&chain);
        qb_chain_close(&chain);
    }
    m->shown_known = true;
    return 0;
}

/* Whether the amend gave guest cluster `cluster`, which had no host cluster and read zero, one of
 * the new clusters of zeros, which were found to be zeros still, whichever table leads there.  An
 * extended entry shows what it did without. */
static int is_allocated(struct maps *m, uint64_t cluster, uint64_t old, uint64_t now)
{
    const struct qb_proof *proof = m->p->proof;
    const struct qb_geom *g = &m->p->old.geom;
    uint64_t offset = now & QB_ENTRY_OFFSET;

    if ((old & ~QB_ENTRY_ZERO) != 0 || qb_l2_kind(g, now) != QB_DATA || offset < proof->zero_base ||
        offset >= proof->end)
        return 0;
    if (g->l2_entry_size == 16 || (old & QB_ENTRY_ZERO))
        return 1;
    return find_shown(m) < 0 ? -1 : cluster * g->cluster_size >= m->shown;
}

/* Whether two entries map a guest cluster alike.  Version 2 has no zero clusters: there a downgrade
 * has left an unallocated entry, or a new cluster that was found to be zeros. */
static bool alike(const struct qb_proving *p, uint64_t old, uint64_t now)
{
    const struct qb_geom *g = &p->old.geom;
    enum qb_kind kind = qb_l2_kind(g, old);
    uint64_t offset = now & QB_ENTRY_OFFSET;

    if (((old ^ now) & ~QB_ENTRY_COPIED) == 0)
        return true;
    if (p->now.header.version != 2 || (kind != QB_ZERO_PLAIN && kind != QB_ZERO_ALLOCATED))
        return false;
    return now == 0 || (qb_l2_kind(g, now) == QB_DATA && offset >= p->proof->zero_base &&
                        offset < p->proof->end);
}

/* Whether the two images may differ at this cluster of the active disk: past the part that both
 * sizes cover, and in the cluster in which that part ends, which the amend copied. */
static bool is_edge(const struct maps *m, const struct pair *pair, uint64_t cluster, uint64_t now)
{
    const struct qb_proving *p = m->p;
    uint64_t cs = p->old.geom.cluster_size;

    if (!pair->active || !is_resized(p))
        return false;
    if (cluster >= qb_div_up(m->kept, cs))
        return true;
    return m->kept % cs && cluster == m->kept / cs && qb_l2_kind(&p->now.geom, now) == QB_DATA &&
           qb_proof_is_new(p->proof, now & QB_ENTRY_OFFSET);
}

static int compare_pair(struct maps *m, const struct pair *pair)
{
    struct qb_proving *p = m->p;
    const struct qb_geom *g = &p->old.geom;
    uint64_t first = pair->l1_index * g->l2_entries;

    if (qb_undo_read_table(p, pair->old, m->old) < 0 ||
        qb_undo_read_table(p, pair->now, m->now) < 0)
        return -1;
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t old = qb_l2_get(g, m->old, i, 0), now = qb_l2_get(g, m->now, i, 0);
        int given = is_allocated(m, first + i, old, now);
        bool same = given > 0 || alike(p, old, now);

        if (given < 0)
            return -1;
        if (g->l2_entry_size == 16)
            same &= qb_l2_get(g, m->old, i, 1) == qb_l2_get(g, m->now, i, 1);
        if (!same && !is_edge(m, pair, first + i, now))
            return qb_undo_refuse(p, pair->now,
                                  "what the guest cluster at %llu consists of changed",
                                  (unsigned long long)((first + i) * g->cluster_size));
    }
    return 0;
}

/* ---- the layers ------------------------------------------------------------------------------ */

/* Pairs the layers that both images have.  The snapshots that only the old one has, the amend
 * deleted: the new table is among the bytes that are as it wrote them. */
static int pair_layers(struct maps *m)
{
    struct qb_proving *p = m->p;
    const struct qb_snapshot_table *old = &p->old.snapshots, *now = &p->now.snapshots;
    unsigned n = 0;

    if (pair_layer(m, 0, 0) < 0)
        return -1;
    for (unsigned i = 0; i < old->list.n; i++)
        if (n < now->list.n && qb_snapshot_same(&old->list.items[i], &now->list.items[n]) &&
            old->list.items[i].l1_size == now->list.items[n].l1_size &&
            pair_layer(m, i + 1, ++n) < 0)
            return -1;
    if (n < now->list.n)
        return qb_undo_refuse(p, p->now.header.snapshots_offset, "snapshot %u changed", n);
    return 0;
}

static int compare_all(struct maps *m)
{
    const struct pair *last = NULL;

    if (!m->old || !m->now)
        return qb_fail_memory(m->p->err);
    if (pair_layers(m) < 0)
        return -1;
    if (m->pairs.n)
        qsort(m->pairs.items, m->pairs.n, sizeof(*m->pairs.items), by_place);
    for (size_t i = 0; i < m->pairs.n; last = &m->pairs.items[i++])
        if ((!last || by_place(last, &m->pairs.items[i]) != 0) &&
            compare_pair(m, &m->pairs.items[i]) < 0)
            return -1;
    return 0;
}

int qb_undo_compare_maps(struct qb_proving *p)
{
    uint64_t cs = p->old.geom.cluster_size;
    struct maps m = {.p = p, .old = malloc(cs), .now = malloc(cs)};
    int r;

    m.kept = QB_MIN(p->old.header.size, p->now.header.size);
    r = compare_all(&m);
    qb_vec_free(&m.pairs);
    free(m.old);
    free(m.now);
    return r;
}
