/* What guests see, in the proof of an undo: in every layer both headers map every cluster alike. */
#include "amend/undo_prove.h"

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

static int pair_layer(struct maps *m, unsigned layer)
{
    struct qb_proving *p = m->p;
    struct qb_layer a = qb_image_layer(&p->old, layer), b = qb_image_layer(&p->now, layer);
    l1_list old = {0}, now = {0};
    int r = 0;

    if (a.l1_offset == b.l1_offset) /* the same bytes */
        return 0;
    if (qb_image_scan_entries(p->io, &p->old, a.l1_offset, a.l1_size, "an L1 table", note_entry,
                              &old, p->err) < 0 ||
        qb_image_scan_entries(p->io, &p->now, b.l1_offset, b.l1_size, "an L1 table", note_entry,
                              &now, p->err) < 0)
        r = -1;
    if (r == 0)
        r = join(m, layer, &old, &now);
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

/* Whether two entries map a guest cluster alike, as far as an amend changes them: where version 2
 * has no zero clusters, one is unallocated, or a new cluster that was found to be zeros. */
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
 * sizes have, and where that ends within a cluster, which the amend copied. */
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
        bool same = alike(p, old, now);

        if (g->l2_entry_size == 16)
            same &= qb_l2_get(g, m->old, i, 1) == qb_l2_get(g, m->now, i, 1);
        if (!same && !is_edge(m, pair, first + i, now))
            return qb_undo_refuse(p, pair->now,
                                  "what the guest cluster at %llu consists of changed",
                                  (unsigned long long)((first + i) * g->cluster_size));
    }
    return 0;
}

/* ---- the snapshots' records ------------------------------------------------------------------ */

static bool same_snapshot(const struct qb_snapshot *a, const struct qb_snapshot *b)
{
    /* From the L1 table's size to the clock; the place of that table may differ. */
    const size_t from = offsetof(struct qb_disk_snapshot, l1_size);
    const size_t end = offsetof(struct qb_disk_snapshot, vm_state_size);
    const uint8_t *names_a = a->raw + sizeof(struct qb_disk_snapshot) + a->extra_len;
    const uint8_t *names_b = b->raw + sizeof(struct qb_disk_snapshot) + b->extra_len;

    return memcmp(a->raw + from, b->raw + from, end - from) == 0 && a->id_len == b->id_len &&
           a->name_len == b->name_len && a->vm_state_size == b->vm_state_size &&
           a->disk_size == b->disk_size &&
           memcmp(names_a, names_b, (size_t)a->id_len + a->name_len) == 0;
}

static int compare_snapshots(struct qb_proving *p)
{
    const struct qb_snapshot_table *old = &p->old.snapshots, *now = &p->now.snapshots;

    if (old->list.n != now->list.n)
        return qb_undo_refuse(p, QB_NOWHERE, "the number of snapshots changed");
    if (p->old.header.snapshots_offset == p->now.header.snapshots_offset)
        return 0;
    for (size_t i = 0; i < old->list.n; i++)
        if (!same_snapshot(&old->list.items[i], &now->list.items[i]))
            return qb_undo_refuse(p, p->now.header.snapshots_offset, "snapshot %zu changed", i);
    return 0;
}

static int compare_all(struct maps *m)
{
    const struct pair *last = NULL;

    if (!m->old || !m->now)
        return qb_fail_memory(m->p->err);
    for (unsigned i = 0; i < qb_image_layers(&m->p->old); i++)
        if (pair_layer(m, i) < 0)
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
    int r = compare_snapshots(p);

    m.kept = QB_MIN(p->old.header.size, p->now.header.size);
    if (r == 0)
        r = compare_all(&m);
    qb_vec_free(&m.pairs);
    free(m.old);
    free(m.now);
    return r;
}
