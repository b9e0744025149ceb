#include "image/tables.h"

#include "base/index.h"

struct gather {
    const struct qb_image *img;
    QB_VEC(struct qb_l2_table) list;
    struct qb_index by_offset;
    uint64_t memory_limit;
    unsigned layer; /* whose L1 table is read */
    qb_l1_odd_fn *odd;
    void *arg;
};

static struct qb_l2_table *find_table(const struct gather *g, uint64_t offset)
{
    struct qb_probe p = qb_index_probe(&g->by_offset, offset);

    while (qb_index_next(&g->by_offset, &p))
        if (g->list.items[p.item].offset == offset)
            return &g->list.items[p.item];
    return NULL;
}

/* The limit is for the index and for the list that it has slots for. */
static int make_room(struct gather *g, struct qb_err *err)
{
    size_t wants = qb_index_wants(&g->by_offset);

    if (wants + wants / sizeof(struct qb_index_slot) * sizeof(struct qb_l2_table) > g->memory_limit)
        return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                       "more than %zu L2 tables: limits.memory is too low", g->list.n);
    return qb_index_room(&g->by_offset, 1) ? 0 : qb_fail_memory(err);
}

static int add_table(struct gather *g, uint32_t l1_index, uint64_t offset, struct qb_err *err)
{
    struct qb_l2_table *t = find_table(g, offset);

    if (!t) {
        struct qb_l2_table fresh = {.offset = offset, .l1_index = l1_index};

        if (make_room(g, err) < 0)
            return -1;
        if (!qb_vec_push(&g->list, fresh))
            return qb_fail_memory(err);
        qb_index_add(&g->by_offset, offset, g->list.n - 1);
        t = &g->list.items[g->list.n - 1];
    }
    t->refs += t->refs < UINT32_MAX;
    t->active |= g->layer == 0;
    t->crossed |= t->l1_index != l1_index;
    return 0;
}

static int note_odd(struct gather *g, enum qb_l1_oddity what, uint64_t at, uint64_t entry,
                    struct qb_err *err)
{
    if (g->odd)
        g->odd(g->arg, what, g->layer, at, entry);
    else if (what != QB_L1_RESERVED_BITS)
        return qb_fail(err, QB_E_CORRUPT, at, "an L1 entry points to no L2 table");
    return 0;
}

static int gather_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct gather *g = arg;
    const struct qb_geom *geom = &g->img->geom;
    uint64_t at = qb_image_layer(g->img, g->layer).l1_offset + 8ull * index;
    uint64_t offset = entry & QB_ENTRY_OFFSET;

    if (entry & QB_L1_RESERVED)
        note_odd(g, QB_L1_RESERVED_BITS, at, entry, err);
    if (offset == 0)
        return 0;
    if (offset % geom->cluster_size)
        return note_odd(g, QB_L1_UNALIGNED, at, entry, err);
    if (!qb_range_ok(offset, geom->cluster_size, 1, g->img->file->size))
        return note_odd(g, QB_L1_OUTSIDE, at, entry, err);
    return add_table(g, index, offset, err);
}

static int gather_l1(struct qb_io *io, struct gather *g, unsigned layer, struct qb_err *err)
{
    struct qb_layer l = qb_image_layer(g->img, layer);

    g->layer = layer;
    return qb_image_scan_entries(
        &(struct qb_entry_scan){io, g->img, l.l1_offset, l.l1_size, "an L1 table", gather_entry, g},
        err);
}

static int by_first(const void *a, const void *b)
{
    const struct qb_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* Refuses L1 tables that share bytes: the work of a walk would exceed what the file holds. */
static int check_l1_overlap(const struct qb_image *img, struct qb_err *err)
{
    unsigned n = qb_image_layers(img), used = 0;
    QB_AUTO(qb_buf) struct qb_range *spans = calloc(n, sizeof(*spans));

    if (!spans)
        return qb_fail_memory(err);
    for (unsigned i = 0; i < n; i++) {
        struct qb_layer l = qb_image_layer(img, i);

        if (l.l1_size > QB_MAX_L1_BYTES / 8)
            return qb_fail(err, QB_E_CORRUPT, l.l1_offset, "an L1 table of %u entries is too large",
                           l.l1_size);
        if (l.l1_size && l.l1_offset % img->geom.cluster_size)
            return qb_fail(err, QB_E_CORRUPT, l.l1_offset,
                           "snapshot %u: its L1 table is not cluster aligned", i);
        if (l.l1_size)
            spans[used++] = (struct qb_range){l.l1_offset, l.l1_offset + 8ull * l.l1_size};
    }
    qsort(spans, used, sizeof(*spans), by_first);
    for (unsigned i = 1; i < used; i++)
        if (spans[i].first < spans[i - 1].end)
            return qb_fail(err, QB_E_CORRUPT, spans[i].first, "two L1 tables overlap");
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct qb_l2_table *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* They mostly are in this order already. */
static void sort_by_offset(struct qb_l2_table *list, size_t n)
{
    size_t i = 1;

    while (i < n && list[i - 1].offset < list[i].offset)
        i++;
    if (i < n)
        qsort(list, n, sizeof(*list), by_offset);
}

struct qb_layer qb_image_layer(const struct qb_image *img, unsigned layer)
{
    const struct qb_snapshot *s;

    if (layer == 0)
        return (struct qb_layer){img->header.l1_offset, img->header.l1_size, img->header.size};
    s = &img->snapshots.list.items[layer - 1];
    return (struct qb_layer){s->l1_offset, s->l1_size, s->disk_size};
}

int qb_tables_gather(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                     qb_l1_odd_fn *odd, void *arg, struct qb_tables *out, struct qb_err *err)
{
    struct gather g = {.img = img, .memory_limit = memory_limit, .odd = odd, .arg = arg};
    int r = check_l1_overlap(img, err);

    for (unsigned i = 0; r == 0 && i < qb_image_layers(img); i++)
        r = gather_l1(io, &g, i, err);
    qb_index_free(&g.by_offset);
    if (r < 0) {
        qb_vec_free(&g.list);
        return -1;
    }
    sort_by_offset(g.list.items, g.list.n);
    *out = (struct qb_tables){g.list.items, g.list.n, g.list.cap};
    return 0;
}

void qb_tables_free(struct qb_tables *t)
{
    free(t->items);
    *t = (struct qb_tables){0};
}

struct qb_l2_table *qb_tables_find(const struct qb_tables *t, uint64_t offset)
{
    struct qb_l2_table key = {.offset = offset};

    if (t->n == 0)
        return NULL;
    return bsearch(&key, t->items, t->n, sizeof(key), by_offset);
}
