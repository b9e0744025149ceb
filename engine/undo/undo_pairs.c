/* Finds out, for an undo, which L2 tables of both headers map the same part of a layer. */
#include "undo/undo_pairs.h"

#include "image/image.h"

/* What one header has of a layer, ascending. */
struct held {
    struct qb_piece piece;
    struct qb_part part;
};
typedef QB_VEC(struct held) held_list;

struct pairing {
    struct qb_proving *p;
    qb_pairs *pairs;
};

/* A walk over one L1 table. */
struct walk {
    held_list *list;
    uint64_t disk;  /* entries from here on lead to VM state */
    uint64_t parts; /* pieces that an entry covers */
    uint64_t piece_entries;
};

static int note_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    const struct walk *w = arg;
    bool is_state = index >= w->disk;
    uint64_t from = is_state ? index - w->disk : index;

    for (uint64_t i = 0; (entry & QB_ENTRY_OFFSET) && i < w->parts; i++) {
        struct held h = {{is_state, from * w->parts + i},
                         {entry & QB_ENTRY_OFFSET, i * w->piece_entries}};

        if (!qb_vec_push(w->list, h))
            return qb_fail_memory(err);
    }
    return 0;
}

/* The parts of the layer that this header has tables for.  Where a new size has moved the end of
 * the active disk, what lies past the smaller one is not compared (undo_maps.c), and has its place.
 */
static int list_layer(struct qb_proving *p, const struct qb_image *img, unsigned layer,
                      held_list *out)
{
    bool moved = layer == 0 && p->old.header.size != p->now.header.size;
    struct qb_layer l = qb_image_layer(img, layer);
    struct walk w = {
        .list = out,
        .disk = moved ? UINT64_MAX : qb_geom_l1_needed(&img->geom, l.disk_size),
        .parts = img->geom.l2_entries / qb_piece_entries(p),
        .piece_entries = qb_piece_entries(p),
    };

    return qb_image_scan_entries(
        &(struct qb_entry_scan){p->io, img, l.l1_offset, l.l1_size, "an L1 table", note_entry, &w},
        p->err);
}

static int by_piece(const struct qb_piece *a, const struct qb_piece *b)
{
    if (a->is_state != b->is_state)
        return a->is_state - b->is_state;
    return (a->number > b->number) - (a->number < b->number);
}

static bool same_table(const struct qb_proving *p, const struct qb_part *old,
                       const struct qb_part *now)
{
    return old->offset == now->offset && p->old.geom.l2_entry_size == p->now.geom.l2_entry_size;
}

/* Both lists ascend. */
static int join(struct pairing *pg, unsigned layer, const held_list *old, const held_list *now)
{
    for (size_t i = 0, k = 0; i < old->n || k < now->n;) {
        const struct held *a = i < old->n ? &old->items[i] : NULL;
        const struct held *b = k < now->n ? &now->items[k] : NULL;
        int order = !a ? 1 : !b ? -1 : by_piece(&a->piece, &b->piece);
        struct qb_pair pair = {.active = layer == 0};

        if (order <= 0) {
            pair.piece = a->piece;
            pair.old = a->part;
            i++;
        }
        if (order >= 0) {
            pair.piece = b->piece;
            pair.now = b->part;
            k++;
        }
        if (!same_table(pg->p, &pair.old, &pair.now) && !qb_vec_push(pg->pairs, pair))
            return qb_fail_memory(pg->p->err);
    }
    return 0;
}

static int pair_layer(struct pairing *pg, unsigned old_layer, unsigned now_layer)
{
    struct qb_proving *p = pg->p;
    struct qb_layer a = qb_image_layer(&p->old, old_layer), b = qb_image_layer(&p->now, now_layer);
    held_list old = {0}, now = {0};
    int r = 0;

    if (a.l1_offset == b.l1_offset && p->old.geom.l2_entry_size == p->now.geom.l2_entry_size)
        return 0; /* the same bytes */
    if (list_layer(p, &p->old, old_layer, &old) < 0 || list_layer(p, &p->now, now_layer, &now) < 0)
        r = -1;
    if (r == 0)
        r = join(pg, old_layer, &old, &now);
    qb_vec_free(&old);
    qb_vec_free(&now);
    return r;
}

/* Where an L1 entry's reach changes, so does the L1 table's length. */
static bool same_l1_size(const struct qb_proving *p, const struct qb_snapshot *a,
                         const struct qb_snapshot *b)
{
    return a->l1_size == b->l1_size || p->old.geom.l1_span != p->now.geom.l1_span;
}

/* Pairs the layers that both images have.  The snapshots that only the old one has, the amend
 * deleted: the new table is among the bytes that are as it wrote them. */
static int pair_layers(struct pairing *pg)
{
    struct qb_proving *p = pg->p;
    const struct qb_snapshot_table *old = &p->old.snapshots, *now = &p->now.snapshots;
    unsigned n = 0;

    if (pair_layer(pg, 0, 0) < 0)
        return -1;
    for (unsigned i = 0; i < old->list.n; i++)
        if (n < now->list.n && qb_snapshot_same(&old->list.items[i], &now->list.items[n]) &&
            same_l1_size(p, &old->list.items[i], &now->list.items[n]) &&
            pair_layer(pg, i + 1, ++n) < 0)
            return -1;
    if (n < now->list.n)
        return qb_undo_refuse(p, p->now.header.snapshots_offset, "snapshot %u changed", n);
    return 0;
}

static int by_part(const struct qb_part *a, const struct qb_part *b)
{
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

/* A table that an image names at many places is compared at one of them, so that the work does not
 * depend on what an L1 table claims. */
static int by_tables(const struct qb_pair *x, const struct qb_pair *y)
{
    int r = by_part(&x->old, &y->old);

    r = r ? r : by_part(&x->now, &y->now);
    r = r ? r : x->active - y->active;
    return r ? r : x->piece.is_state - y->piece.is_state;
}

static int by_place(const void *a, const void *b)
{
    const struct qb_pair *x = a, *y = b;
    int r = by_tables(x, y);

    return r ? r : by_piece(&x->piece, &y->piece);
}

int qb_undo_pair_tables(struct qb_proving *p, qb_pairs *out)
{
    struct pairing pg = {p, out};
    size_t n = 0;

    if (pair_layers(&pg) < 0)
        return -1;
    if (out->n)
        qsort(out->items, out->n, sizeof(*out->items), by_place);
    for (size_t i = 0; i < out->n; i++)
        if (i == 0 || by_tables(&out->items[n - 1], &out->items[i]) != 0)
            out->items[n++] = out->items[i];
    out->n = n;
    return 0;
}
