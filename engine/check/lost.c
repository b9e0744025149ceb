#include "check/lost.h"

#include <stdlib.h>

#include "base/own.h"
#include "qcow2/l2.h"

enum {
    HEAD = 4096,  /* bytes of a cluster from which most are known to be no table */
    AT_ONCE = 64, /* clusters */
};

/* ---- what can be a table --------------------------------------------------------------------- */

/* The host byte that an entry names; 0: none; 1, which no entry can name: it is no entry. */
#define NO_ENTRY 1

static uint64_t names(const struct qb_image *img, const uint8_t *table, uint64_t i)
{
    const struct qb_geom *g = &img->geom;
    uint64_t entry = qb_l2_get(g, table, i, 0);
    bool compressed = entry & QB_ENTRY_COMPRESSED;
    uint64_t offset = compressed ? qb_l2_compressed(g, entry).offset : entry & QB_ENTRY_OFFSET;

    if (entry <= QB_ENTRY_ZERO)
        return 0;
    if (offset == 0 || offset >= img->file->size ||
        (!compressed && ((entry & QB_L2_RESERVED) || offset % g->cluster_size)))
        return NO_ENTRY;
    return offset;
}

/* Whether these n bytes of a cluster can be entries of an L2 table. */
static bool may_be_table(const struct qb_image *img, const uint8_t *bytes, uint64_t n)
{
    for (uint64_t i = 0; i < n / img->geom.l2_entry_size; i++)
        if (names(img, bytes, i) == NO_ENTRY)
            return false;
    return true;
}

uint64_t qb_lost_names(const struct qb_image *img, const uint8_t *table, qb_leaked_fn *is_leaked,
                       void *arg)
{
    uint64_t named = 0, lost = 0;

    for (uint64_t i = 0; i < img->geom.l2_entries; i++) {
        uint64_t offset = names(img, table, i);

        if (offset == NO_ENTRY)
            return 0;
        named += offset != 0;
        lost += offset != 0 && is_leaked(arg, offset >> img->geom.cluster_bits);
    }
    return 2 * lost >= named ? lost : 0;
}

/* ---- where one is lacking -------------------------------------------------------------------- */

static int count_gap(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct qb_gaps *gaps = arg;

    (void)err;
    if (index >= gaps->end || !(entry & QB_ENTRY_OFFSET))
        return 0;
    if (index > gaps->mapped && gaps->n == 0)
        gaps->first = gaps->mapped;
    gaps->n += index - gaps->mapped;
    gaps->mapped = index + 1ull;
    return 0;
}

/* Tables that were overwritten with zeros; a discard may leave such, too.  Which snapshot names one
 * is not known: it counts for each. */
static void count_empty(const struct qb_census *c, bool active, struct qb_gaps *gaps)
{
    for (size_t i = 0; i < c->tables.n; i++) {
        const struct qb_l2_table *t = &c->tables.items[i];
        const struct qb_table_note *note = &c->notes[i];

        if (t->active != active || t->l1_index >= gaps->end ||
            note->data + note->compressed + note->zero_plain + note->zero_allocated)
            continue;
        if (gaps->n++ == 0)
            gaps->first = t->l1_index;
    }
}

int qb_gaps_find(struct qb_io *io, const struct qb_census *c, unsigned layer, struct qb_gaps *out,
                 struct qb_err *err)
{
    const struct qb_image *img = c->img;
    struct qb_layer l = qb_image_layer(img, layer);

    *out = (struct qb_gaps){.end = qb_min(qb_geom_l1_needed(&img->geom, l.disk_size), l.l1_size)};
    if (qb_image_scan_entries(
            &(struct qb_entry_scan){io, img, l.l1_offset, l.l1_size, "an L1 table", count_gap, out},
            err) < 0)
        return -1;
    if (out->n == 0)
        out->first = out->mapped;
    out->n += out->end - out->mapped;
    count_empty(c, layer == 0, out);
    return 0;
}

/* ---- leaked clusters that are tables --------------------------------------------------------- */

struct search {
    struct qb_io *io;
    struct qb_census *c;
    struct qb_lost *out;
    uint64_t waiting[AT_ONCE]; /* clusters, of which the heads are to be read */
    unsigned n;
    uint8_t *heads, *table; /* AT_ONCE heads; a cluster */
};

static bool is_leaked(void *arg, uint64_t cluster)
{
    struct search *s = arg;

    return qb_counts_get(&s->c->surplus, cluster) != 0;
}

/* Of a cluster that may be a table by its head. */
static int look_at(struct search *s, uint64_t at, struct qb_err *err)
{
    const struct qb_image *img = s->c->img;
    uint64_t lost;

    if (qb_io_read(s->io, img->file, at, s->table, img->geom.cluster_size, "a leaked cluster",
                   err) < 0)
        return -1;
    lost = qb_lost_names(img, s->table, is_leaked, s);
    if (lost && s->out->n++ == 0)
        s->out->first = at;
    s->out->clusters += lost;
    return 0;
}

static int look_at_waiting(struct search *s, struct qb_err *err)
{
    const struct qb_image *img = s->c->img;
    uint64_t cs = img->geom.cluster_size, head = QB_MIN(cs, HEAD);
    struct qb_req reqs[AT_ONCE];

    if (qb_io_go_on(s->io, err) < 0)
        return -1;
    for (unsigned i = 0; i < s->n; i++)
        reqs[i] = (struct qb_req){.file = img->file,
                                  .op = QB_OP_READ,
                                  .offset = s->waiting[i] * cs,
                                  .len = head,
                                  .buf = s->heads + i * head};
    if (s->n && qb_io_run(s->io, reqs, s->n) != 0)
        for (unsigned i = 0; i < s->n; i++)
            if (reqs[i].error)
                return qb_io_fail(&reqs[i], "a leaked cluster", err);
    for (unsigned i = 0; i < s->n; i++)
        if (may_be_table(img, s->heads + i * head, head) && look_at(s, s->waiting[i] * cs, err) < 0)
            return -1;
    s->n = 0;
    return 0;
}

static int search_page(struct search *s, const struct qb_count_page *page, struct qb_err *err)
{
    struct qb_file *file = s->c->img->file;
    uint64_t cs = s->c->img->geom.cluster_size;

    if (qb_io_go_on(s->io, err) < 0)
        return -1;
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
        uint64_t cluster = page->number * QB_PAGE_COUNTS + i;

        if (!qb_page_count(page, i) || qb_counts_get(&s->c->counts, cluster) ||
            !qb_range_ok(cluster * cs, cs, 1, file->size) ||
            qb_file_is_hole(file, cluster * cs, cs))
            continue;
        s->waiting[s->n++] = cluster;
        if (s->n == AT_ONCE && look_at_waiting(s, err) < 0)
            return -1;
    }
    return 0;
}

static int search(struct search *s, struct qb_err *err)
{
    struct qb_count_page *const *pages = qb_counts_pages(&s->c->surplus);

    for (size_t k = 0; k < s->c->surplus.n_pages; k++)
        if (search_page(s, pages[k], err) < 0)
            return -1;
    return look_at_waiting(s, err);
}

/* The first layer that lacks a table: 1, or 0 where none does. */
static int find_layer(struct qb_io *io, const struct qb_census *c, struct qb_lost *out,
                      struct qb_err *err)
{
    for (unsigned i = 0; i < qb_image_layers(c->img); i++) {
        if (qb_io_go_on(io, err) < 0 || qb_gaps_find(io, c, i, &out->gaps, err) < 0)
            return -1;
        out->layer = i;
        if (out->gaps.n)
            return 1;
    }
    return 0;
}

int qb_lost_find(struct qb_io *io, struct qb_census *c, struct qb_lost *out, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size, held = cs + AT_ONCE * QB_MIN(cs, HEAD);
    QB_AUTO(qb_buf) uint8_t *buf = NULL;
    struct search s = {.io = io, .c = c, .out = out};
    int r;

    *out = (struct qb_lost){0};
    if (c->surplus.n_pages == 0 || c->img->geom.external_data)
        return 0;
    r = find_layer(io, c, out, err);
    if (r <= 0)
        return r;
    if (qb_counts_hold(&c->counts, held, err) < 0)
        return -1;
    buf = malloc(held);
    s.table = buf;
    s.heads = buf ? buf + cs : NULL;
    r = buf ? search(&s, err) : qb_fail_memory(err);
    qb_counts_let_go(&c->counts, held);
    return r;
}
