#include "rules/resize.h"

#include <string.h>

#include "qcow2/l2.h"

#define MOST_ASSUMED_BYTES (UINT64_C(64) << 20) /* of L2 tables, see check_zeros */

struct probe {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_chain *chain; /* where the disk grows */
    struct qb_chain *below; /* where the entry of a last cluster that is copied can have no
                               subclusters: for those that are unallocated; NULL: they read zero */
    bool standard;          /* ... in the target */
    struct qb_active_l1 *l1;
    uint64_t memory_limit;
    bool raw;                          /* the target has a raw data file */
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

/* Active L1 entries past the part of the disk that stays. */
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
    r = qb_image_scan_entries(&(struct qb_entry_scan){p->io, p->img, h->l1_offset + 8 * keep,
                                                      h->l1_size - (uint32_t)keep, "an L1 table",
                                                      stop_at_first, NULL},
                              err);
    e->drops_tables = r > 0;
    return r < 0 ? -1 : 0;
}

/* Whether the L1 table can have `entries` entries where it is: they fit its last cluster, and the
 * bytes there are zero. */
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

/* Entries of the last table that lie past the part of the disk that stays. */
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

/* Reads the content of the cluster at guest byte `start` as the guest reads it. */
static int read_last(const struct probe *p, uint64_t start, const struct qb_l2_place *last,
                     uint8_t *buf, struct qb_err *err)
{
    if (last->kind != QB_UNALLOCATED && last->kind != QB_IDLE)
        return qb_image_read_own(p->io, p->img, last, buf, err);
    return qb_chain_read(p->io, p->chain, start, p->img->geom.cluster_size, buf, err);
}

/* Has the subclusters of a partial cluster read zero from byte `used` on, those of a backing file
 * too where it is longer than the disk (`backed`); *changed when any of them did not. */
static int cut_subclusters(const struct probe *p, uint64_t start, uint64_t used, bool backed,
                           uint8_t *buf, uint64_t *bitmap, bool *changed, struct qb_err *err)
{
    uint64_t sub = p->img->geom.cluster_size / QB_SUBCLUSTERS;

    for (unsigned i = (unsigned)(used / sub); i < QB_SUBCLUSTERS; i++) {
        uint64_t zero = UINT64_C(1) << (QB_SUBCLUSTERS + i), allocated = UINT64_C(1) << i;
        uint64_t keep = used > i * sub ? used - i * sub : 0;
        uint8_t *bytes = buf + i * sub;

        if (*bitmap & zero || (!(*bitmap & allocated) && !backed))
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
static int fill_subclusters(const struct probe *p, uint64_t start, uint64_t used, uint8_t *buf,
                            uint64_t *bitmap, struct qb_err *err)
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
static int cut_last(const struct probe *p, uint64_t start, uint64_t used, bool backed,
                    const struct qb_l2_place *last, uint8_t *buf, uint64_t *bitmap, bool *changed,
                    struct qb_err *err)
{
    uint64_t rest = p->img->geom.cluster_size - used;

    *changed = false;
    *bitmap = last->kind == QB_PARTIAL ? last->bitmap : QB_ALL_ALLOCATED;
    if (read_last(p, start, last, buf, err) < 0)
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

/* The last cluster of what stays, if only a part of it does: past the end it must read zero, now
 * and when the disk grows again. */
static int probe_tail(const struct probe *p, struct qb_resize *e, struct qb_err *err)
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
    if (g->external_data && last.kind == QB_DATA)
        return 0; /* data_file.c clears what is past the end */
    if (g->external_data && (last.kind == QB_PARTIAL || last.kind == QB_IDLE))
        return qb_fail(
            err, QB_E_UNSUPPORTED, QB_NOWHERE,
            "the new size needs a part of a cluster in the data file that has subclusters "
            "of several sorts");
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
    e->copies_in_place = g->external_data;
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
                       "the backing chain holds data in more than %zu places past the disk's end",
                       e->zeros.n);
    return qb_vec_push(&e->zeros, r) ? 0 : qb_fail_memory(err);
}

/* Growing over a longer backing file needs zero entries from the old end to the backing file's end,
 * where the chain may show data.  Elsewhere it shows none, and never will: a file with overlays
 * must not change, or what they read from it would change too. */
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

/* A raw data file is to be read like the disk by others, who may also write it: QEMU maps all of
 * such a disk, and so is what is added. */
static int fill_in_place(const struct probe *p, struct qb_resize *e, struct qb_err *err)
{
    uint64_t cs = p->img->geom.cluster_size;
    const struct qb_range r = {qb_div_up(p->old_size, cs), qb_div_up(p->new_size, cs)};

    e->fills_in_place = true;
    return r.first < r.end ? add_zeros(p, e, r, err) : 0;
}

/* Where the chain's end is not local, its files do not bound the work: zero entries for all that is
 * added may be out of proportion to what was asked for. */
static int check_zeros(const struct probe *p, const struct qb_resize *e, struct qb_err *err)
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

static int probe_all(const struct probe *p, struct qb_resize *e, struct qb_err *err)
{
    if (probe_l1(p, e, err) < 0 || size_l1(p, err) < 0 || probe_cut(p, e, err) < 0 ||
        probe_tail(p, e, err) < 0)
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
    const struct probe p = {
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
