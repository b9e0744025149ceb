#include "amend/resize.h"

#include <string.h>

#include "qcow2/l2.h"

struct probe {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_chain *chain;
    struct qb_active_l1 *l1;
    uint64_t memory_limit;
    uint64_t old_size, new_size, kept; /* bytes; kept is the smaller */
};

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

/* Active L1 entries behind the part of the disk that stays. */
static int probe_l1(const struct probe *p, struct qb_resize *e, struct qb_err *err)
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
    r = qb_image_scan_entries(p->io, p->img, h->l1_offset + 8 * keep, h->l1_size - (uint32_t)keep,
                              "an L1 table", stop_at_first, NULL, err);
    e->drops_tables = r > 0;
    return r < 0 ? -1 : 0;
}

/* Whether the L1 table can have `entries` entries where it is: its last cluster has room, and what
 * stands there is zero. */
static int l1_has_room(const struct probe *p, uint64_t entries, bool *room, struct qb_err *err)
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

static int size_l1(const struct probe *p, struct qb_err *err)
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

/* Entries of the boundary's table that lie behind the part of the disk that stays. */
static int probe_cut(const struct probe *p, struct qb_resize *e, struct qb_err *err)
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

/* The content of the cluster at guest byte `start`, as the guest reads it. */
static int read_last(const struct probe *p, uint64_t start, uint64_t entry, enum qb_kind kind,
                     uint8_t *buf, struct qb_err *err)
{
    uint64_t cs = p->img->geom.cluster_size;

    if (kind != QB_UNALLOCATED)
        return qb_image_read_cluster(p->io, p->img, entry, buf, err);
    if (p->img->header.crypt_method || p->img->geom.l2_entry_size != 8)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "the new size needs a copy of the last cluster of an image with %s",
                       p->img->header.crypt_method ? "encryption" : "extended L2 entries");
    return qb_chain_read(p->io, p->chain, start, cs, buf, err);
}

/* The last cluster of what stays, if it is there in part only: behind the end it must read zero,
 * now and when the disk grows again. */
static int probe_tail(const struct probe *p, struct qb_resize *e, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    uint64_t used = p->kept % g->cluster_size, start = p->kept - used, entry, at;
    QB_AUTO(qb_buf) uint8_t *buf = NULL;
    enum qb_kind kind;

    if (used == 0)
        return 0;
    if (qb_image_lookup(p->io, p->img, start, &entry, &at, err) < 0)
        return -1;
    kind = qb_l2_kind(g, entry);
    if (kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED)
        return 0;
    /* Unallocated: when growing, nothing of a backing file may show that did not show before. */
    if (kind == QB_UNALLOCATED && (!p->chain || qb_chain_size(p->chain) <= p->kept))
        return 0;
    buf = malloc(g->cluster_size);
    if (!buf)
        return qb_fail_memory(err);
    if (read_last(p, start, entry, kind, buf, err) < 0)
        return -1;
    if (qb_all_zero(buf + used, g->cluster_size - used))
        return 0;
    memset(buf + used, 0, g->cluster_size - used);
    e->copy_cluster = start / g->cluster_size;
    e->copies = true;
    e->copy_bytes = qb_take(&buf);
    return 0;
}

/* Notes guest clusters that need zero entries, joined to those before where they adjoin. */
static int add_zeros(const struct probe *p, struct qb_resize *e, struct qb_range r,
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
                       "the backing chain holds data in more than %zu places behind the disk's end",
                       e->zeros.n);
    return qb_vec_push(&e->zeros, r) ? 0 : qb_fail_memory(err);
}

/* Growing over a longer backing file: from the old end to the backing file's end, no further, and
 * only where the chain may show data.  That it shows none elsewhere stays so: a file that overlays
 * stand on does not change, else what they read from it would change too. */
static int probe_zeros(const struct probe *p, struct qb_resize *e, struct qb_err *err)
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

size_t qb_resize_zeros_from(const struct qb_resize *e, uint64_t cluster)
{
    size_t lo = 0, hi = e->zeros.n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (e->zeros.items[mid].end <= cluster)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int probe_all(const struct probe *p, struct qb_resize *e, struct qb_err *err)
{
    if (probe_l1(p, e, err) < 0 || size_l1(p, err) < 0 || probe_cut(p, e, err) < 0 ||
        probe_tail(p, e, err) < 0)
        return -1;
    return p->new_size > p->old_size ? probe_zeros(p, e, err) : 0;
}

int qb_resize_probe(struct qb_plan *plan, struct qb_resize *out, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    const struct probe p = {
        .io = plan->in.io,
        .img = img,
        .chain = plan->below.chain.n ? &plan->below.chain : NULL,
        .l1 = &plan->active,
        .memory_limit = plan->in.rq->memory_limit,
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
