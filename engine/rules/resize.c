#include "rules/resize_parts.h"

#include "qcow2/l2.h"

#define MOST_ASSUMED_BYTES (UINT64_C(64) << 20) /* of L2 tables, see check_zeros */

void qb_resize_free(struct qb_resize *e)
{
    free(e->copy_bytes);
    e->copy_bytes = NULL;
    qb_vec_free(&e->zeros);
}

static int stop_at_first(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    (void)arg, (void)index, (void)entry, (void)err;
    return 1;
}

/* Active L1 entries past the part of the disk that stays. */
static int probe_l1(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err)
{
    const struct qb_header *h = &p->img->header;
    uint64_t keep = qb_geom_l1_needed(&p->img->geom, p->kept);
    int r;

    p->l1->keep = (uint32_t)keep;
    if (qb_image_l1_is_past_end(p->img, h->l1_offset))
        return 0;
    if (!qb_range_ok(h->l1_offset, h->l1_size, 8, p->img->file->size))
        return qb_fail(err, QB_E_CORRUPT, h->l1_offset,
                       "an L1 table of %u entries ends past the end of the file", h->l1_size);
    if (keep >= h->l1_size)
        return 0;
    r = qb_image_scan_entries(&(struct qb_entry_scan){p->io, p->img, h->l1_offset + 8 * keep,
                                                      h->l1_size - (uint32_t)keep, "an L1 table",
                                                      stop_at_first, NULL},
                              err);
    e->drops_tables = r > 0;
    return r < 0 ? -1 : 0;
}

/* Whether the L1 table can have `entries` entries where it is: they fit its last cluster, and the
 * bytes there are zero. */
static int l1_has_room(const struct qb_resizing *p, uint64_t entries, bool *room,
                       struct qb_err *err)
{
    const struct qb_header *h = &p->img->header;
    uint64_t from = h->l1_offset + 8ull * h->l1_size, len = 8 * (entries - h->l1_size);
    QB_AUTO(qb_buf) uint8_t *bytes = NULL;

    *room = qb_geom_clusters(&p->img->geom, 8 * entries) ==
                qb_geom_clusters(&p->img->geom, 8ull * h->l1_size) &&
            qb_range_ok(from, len, 1, p->img->file->size);
    if (!*room)
        return 0;
    bytes = malloc(len);
    if (!bytes)
        return qb_fail_memory(err);
    if (qb_io_read(p->io, p->img->file, from, bytes, len, "the L1 table's cluster", err) < 0)
        return -1;
    *room = qb_all_zero(bytes, len);
    return 0;
}

static int size_l1(const struct qb_resizing *p, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    const struct qb_header *h = &p->img->header;
    uint64_t needed = qb_geom_l1_needed(g, p->new_size);
    bool room = true;

    p->l1->size = (uint32_t)(p->new_size < p->old_size ? needed : QB_MAX(needed, h->l1_size));
    if (p->l1->size < h->l1_size)
        room = qb_geom_clusters(g, 8ull * p->l1->size) == qb_geom_clusters(g, 8ull * h->l1_size);
    else if (p->l1->size > h->l1_size && l1_has_room(p, p->l1->size, &room, err) < 0)
        return -1;
    p->l1->moves = !room;
    return 0;
}

/* Entries of the last table that lie past the part of the disk that stays. */
static int probe_cut(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    uint64_t inside = p->kept % g->l1_span, entry, at, place;
    QB_AUTO(qb_buf) uint8_t *table = NULL;

    e->cut_l1 = (uint32_t)(p->kept / g->l1_span);
    e->cut_entry = qb_div_up(inside, g->cluster_size);
    if (inside == 0 || e->cut_entry == g->l2_entries)
        return 0;
    if (qb_image_lookup(p->io, p->img, p->kept - inside, &entry, &at, err) < 0)
        return -1;
    if (at == 0)
        return 0;
    table = malloc(g->cluster_size);
    if (!table)
        return qb_fail_memory(err);
    if (qb_io_read(p->io, p->img->file, at, table, g->cluster_size, "an L2 table", err) < 0)
        return -1;
    place = e->cut_entry * g->l2_entry_size;
    e->cuts_table = !qb_all_zero(table + place, g->cluster_size - place);
    return 0;
}

/* Notes guest clusters that need zero entries, joined to those before where they adjoin. */
static int add_zeros(const struct qb_resizing *p, struct qb_resize *e, struct qb_range r,
                     struct qb_err *err)
{
    struct qb_range *last = e->zeros.n ? &e->zeros.items[e->zeros.n - 1] : NULL;

    e->zero_end = r.end;
    if (last && last->end >= r.first) {
        last->end = QB_MAX(last->end, r.end);
        return 0;
    }
    if (p->memory_limit && (e->zeros.n + 1) * sizeof(r) > p->memory_limit)
        return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                       "the backing chain holds data in more than %zu places past the disk's end",
                       e->zeros.n);
    return qb_vec_push(&e->zeros, r) ? 0 : qb_fail_memory(err);
}

/* Growing over a longer backing file needs zero entries from the old end to the backing file's end,
 * where the chain may show data.  Elsewhere it shows none, and never will: a file with overlays
 * must not change, or what they read from it would change too. */
static int probe_zeros(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err)
{
    uint64_t cs = p->img->geom.cluster_size, below = p->chain ? qb_chain_size(p->chain) : 0;
    uint64_t at = qb_round_up(p->old_size, cs), end = QB_MIN(p->new_size, below);
    struct qb_range data;

    for (; at < end; at = data.end) {
        if (qb_chain_next_data(p->io, p->chain, at, end, &data, err) < 0)
            return -1;
        if (data.first < data.end &&
            add_zeros(p, e, (struct qb_range){data.first / cs, qb_div_up(data.end, cs)}, err) < 0)
            return -1;
    }
    return 0;
}

/* A raw data file is to be read like the disk by others, who may also write it: QEMU maps all of
 * such a disk, and so is what is added. */
static int fill_in_place(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err)
{
    uint64_t cs = p->img->geom.cluster_size;
    const struct qb_range r = {qb_div_up(p->old_size, cs), qb_div_up(p->new_size, cs)};

    e->fills_in_place = true;
    return r.first < r.end ? add_zeros(p, e, r, err) : 0;
}

/* Where the chain's end is not local, its files do not bound the work: zero entries for all that is
 * added may be out of proportion to what was asked for. */
static int check_zeros(const struct qb_resizing *p, const struct qb_resize *e, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    const char *remote = p->chain ? qb_chain_remote(p->chain) : NULL;
    uint64_t tables = 0;

    if (!remote)
        return 0;
    qb_vec_each (r, &e->zeros)
        tables += qb_div_up(r->end, g->l2_entries) - r->first / g->l2_entries;
    if (tables <= MOST_ASSUMED_BYTES / g->cluster_size)
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "growing over the backing file %.150s, which is not local and may hold data "
                   "everywhere, takes %llu MiB of L2 tables, and at most %llu MiB are written",
                   remote, (unsigned long long)(tables * g->cluster_size >> 20),
                   (unsigned long long)(MOST_ASSUMED_BYTES >> 20));
}

static int probe_all(const struct qb_resizing *p, struct qb_resize *e, struct qb_err *err)
{
    if (probe_l1(p, e, err) < 0 || size_l1(p, err) < 0 || probe_cut(p, e, err) < 0 ||
        qb_resize_tail(p, e, err) < 0)
        return -1;
    if (p->new_size <= p->old_size)
        return 0;
    if (p->raw)
        return fill_in_place(p, e, err);
    return probe_zeros(p, e, err) < 0 ? -1 : check_zeros(p, e, err);
}

int qb_resize_probe(struct qb_plan *plan, struct qb_resize *out, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    bool grows = plan->target.header.size > img->header.size;
    struct qb_chain *below = plan->below.chain.n ? &plan->below.chain : NULL;
    const struct qb_resizing p = {
        .io = plan->in.io,
        .img = img,
        .chain = grows ? below : NULL,
        .below = below,
        .standard = plan->geom.l2_entry_size == 8,
        .l1 = &plan->active,
        .memory_limit = plan->in.rq->memory_limit,
        .raw = plan->target.header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW,
        .old_size = img->header.size,
        .new_size = plan->target.header.size,
        .kept = QB_MIN(img->header.size, plan->target.header.size),
    };
    struct qb_resize e = {0};

    if (probe_all(&p, &e, err) < 0) {
        qb_resize_free(&e);
        return -1;
    }
    *out = e;
    return 0;
}
