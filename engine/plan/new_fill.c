/* Fills new L2 tables as was decided about their entries (new_entries.c), and checks that each took
 * exactly what was counted. */
#include <inttypes.h>
#include <string.h>

#include "plan/new_tables.h"
#include "plan/recode.h"
#include "plan/release.h"
#include "qcow2/l2_block.h"

uint64_t qb_new_take_cluster(const struct qb_plan *plan, struct qb_cursor *c, uint64_t refs)
{
    if (plan->in.rq->zero_clusters != QB_ZERO_SHARE)
        return c->cluster++;
    if (c->used && c->used + refs > plan->zeros.share_cap) {
        c->cluster++;
        c->used = 0;
    }
    c->used += refs;
    return c->cluster;
}

uint64_t qb_new_with_copied(struct qb_plan *plan, const struct qb_new_table *t, uint64_t entry)
{
    uint64_t cluster = (entry & QB_ENTRY_OFFSET) >> plan->in.img->geom.cluster_bits;

    if (!t->active || cluster == 0)
        return entry;
    if (plan->in.img->geom.external_data) /* it has no refcounts */
        return entry | QB_ENTRY_COPIED;
    entry &= ~QB_ENTRY_COPIED;
    return qb_count_is_single(plan, cluster) ? entry | QB_ENTRY_COPIED : entry;
}

struct filling {
    struct qb_plan *plan;
    const struct qb_new_table *t;
    const uint8_t *source;
    const struct qb_new_parts *parts;
    uint8_t *table; /* the part that is being filled, ... */
    uint64_t base;  /* ... and the entry of the source that it begins with */
    struct qb_cursor cursor;
    struct qb_packing packing;
    uint64_t n_new,
        n_appended;    /* entries that got a new cluster of zeros, or an appended one, ... */
    uint64_t n_copied; /* ... or a copy */
};

static void put_zeros(const struct filling *f, const struct qb_entries *e)
{
    for (uint64_t i = e->first; i < e->first + e->n; i++)
        qb_l2_put_as(&f->plan->geom, f->table, i - f->base, 0, QB_ALL_ZERO);
}

/* Entries that stay what they are, in the other format. */
static void convert(const struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->in.img->geom;

    for (uint64_t i = e->first; i < e->first + e->n; i++) {
        uint64_t entry = qb_l2_get(g, f->source, i, 0);

        if (e->kind != QB_COMPRESSED)
            entry &= ~QB_ENTRY_ZERO;
        if (qb_l2_has_host(e->kind))
            entry = qb_new_with_copied(f->plan, f->t, entry);
        qb_l2_put_as(&f->plan->geom, f->table, i - f->base, entry, qb_l2_bitmap(g, f->source, i));
    }
}

/* The entry with the place to which its cluster moves; what a data file holds stays. */
static uint64_t moved(const struct filling *f, uint64_t entry)
{
    unsigned bits = f->plan->geom.cluster_bits;
    uint64_t cluster = (entry & QB_ENTRY_OFFSET) >> bits;

    if (!f->plan->moves.n || !cluster || f->plan->geom.external_data)
        return entry;
    return (entry & ~QB_ENTRY_OFFSET) | qb_moves_to(&f->plan->moves, cluster) << bits;
}

static uint64_t moved_piece(const struct filling *f, uint64_t entry)
{
    const struct qb_geom *g = &f->plan->geom;
    struct qb_compressed z = qb_l2_compressed(g, entry);
    const struct qb_moved_piece *p = qb_moves_piece(&f->plan->moves, z.offset, z.available);

    return p ? qb_l2_compressed_entry(g, p->to, p->available) : entry;
}

static void keep(const struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->in.img->geom;
    uint64_t at = e->first * g->l2_entry_size, to = at - f->base * g->l2_entry_size;
    bool changes;

    if (f->t->all_zeros) {
        put_zeros(f, e);
        return;
    }
    if (qb_plan_converts(f->plan)) {
        convert(f, e);
        return;
    }
    changes = qb_l2_has_host(e->kind) && (f->t->active || f->plan->moves.n);
    if (g->l2_entry_size != 8 || !changes)
        memcpy(f->table + to, f->source + at, e->n * g->l2_entry_size);
    for (uint64_t i = e->first; changes && i < e->first + e->n; i++)
        qb_l2_put(g, f->table, i - f->base,
                  qb_new_with_copied(f->plan, f->t, moved(f, qb_l2_get(g, f->source, i, 0))));
    for (uint64_t i = e->first; e->kind == QB_COMPRESSED && i < e->first + e->n; i++)
        qb_l2_put(g, f->table, i - f->base, moved_piece(f, qb_l2_get(g, f->source, i, 0)));
}

/* COPIED, in an entry that names a new cluster of the table's own. */
static uint64_t flag_of_new(const struct filling *f)
{
    return f->t->active && f->t->refs == 1 ? QB_ENTRY_COPIED : 0;
}

uint64_t qb_new_zeros_at(const struct qb_plan *plan, uint64_t cluster, uint64_t most, uint64_t *n)
{
    const struct qb_zeros_extent *e;

    *n = 1;
    if (cluster >= plan->zeros.n)
        return 0;
    e = qb_zeros_extent(&plan->zeros, cluster);
    if (e->first + e->n > cluster)
        *n = QB_MIN(most, e->first + e->n - cluster);
    return e->offset + (cluster - e->first) * plan->geom.cluster_size;
}

/* A cluster is counted for several entries. */
static void put_shared(struct filling *f, const struct qb_entries *e)
{
    for (uint64_t i = e->first; i < e->first + e->n; i++) {
        uint64_t one, cluster = qb_new_take_cluster(f->plan, &f->cursor, f->t->refs);
        uint64_t entry =
            qb_new_with_copied(f->plan, f->t, qb_new_zeros_at(f->plan, cluster, 1, &one));

        qb_l2_put_as(&f->plan->geom, f->table, i - f->base, entry, QB_ALL_ALLOCATED);
    }
}

/* Clusters of one table's own are counted as often as the table itself. */
static void put_own(struct filling *f, const struct qb_entries *e)
{
    uint64_t n, copied = flag_of_new(f);

    for (uint64_t i = e->first, end = i + e->n; i < end; i += n) {
        uint64_t entry = qb_new_zeros_at(f->plan, f->cursor.cluster, end - i, &n) | copied;

        qb_l2_put_data(&f->plan->geom, f->table, i - f->base, n, entry);
        f->cursor.cluster += n;
    }
}

static void put_new(struct filling *f, const struct qb_entries *e)
{
    if (f->plan->in.rq->zero_clusters == QB_ZERO_SHARE)
        put_shared(f, e);
    else
        put_own(f, e);
    f->n_new += e->n;
}

/* Host clusters for entries that go on showing what they do without. */
static void put_places(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *from = &f->plan->in.img->geom;
    const uint64_t stored = e->shows == QB_FATE_ZERO ? QB_ALL_ZERO : 0;

    for (uint64_t i = e->first; i < e->first + e->n; i++) {
        uint64_t bitmap = e->shows == QB_FATE_KEEP ? qb_l2_bitmap(from, f->source, i) : stored;
        uint64_t entry;

        if (qb_new_lacks_host(f->plan, f->source, e, i)) {
            uint64_t one, cluster = qb_new_take_cluster(f->plan, &f->cursor, f->t->refs);

            entry = qb_new_zeros_at(f->plan, cluster, 1, &one) | flag_of_new(f);
            f->n_new++;
        } else {
            entry = qb_new_with_copied(f->plan, f->t, qb_l2_get(from, f->source, i, 0));
        }
        qb_l2_put_as(&f->plan->geom, f->table, i - f->base, entry, bitmap);
    }
}

static void put_copies(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->geom;
    uint64_t copied = flag_of_new(f);

    for (uint64_t i = e->first; i < e->first + e->n; i++)
        qb_l2_put_as(g, f->table, i - f->base,
                     (f->t->copies_at + f->n_copied++ * g->cluster_size) | copied,
                     QB_ALL_ALLOCATED);
}

static void put_packed(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->geom;

    for (uint64_t i = e->first; i < e->first + e->n && f->packing.i < f->t->repacked.n; i++) {
        struct qb_packed one = qb_packing_next(&f->packing);

        if (one.plain)
            qb_l2_put_as(g, f->table, i - f->base, one.at | flag_of_new(f), QB_ALL_ALLOCATED);
        else
            qb_l2_put_as(g, f->table, i - f->base, qb_l2_compressed_entry(g, one.at, one.len), 0);
    }
}

/* QEMU sets COPIED in entries of a data file, which has no refcounts. */
static void put_in_place(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->in.img->geom;

    for (uint64_t i = e->first; i < e->first + e->n; i++)
        qb_l2_put_as(&f->plan->geom, f->table, i - f->base,
                     (f->t->l1_index * g->l1_span + i * g->cluster_size) | QB_ENTRY_COPIED,
                     e->bitmap);
}

static void fill_part(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->geom;

    if (e->fate == QB_FATE_KEEP) {
        keep(f, e);
        return;
    }
    if (e->fate == QB_FATE_ZERO) {
        put_zeros(f, e);
        return;
    }
    if (e->fate == QB_FATE_NEW_PLACE) {
        put_places(f, e);
        return;
    }
    if (e->fate != QB_FATE_NEW_ZEROS || g->l2_entry_size != 8)
        memset(f->table + (e->first - f->base) * g->l2_entry_size, 0, e->n * g->l2_entry_size);
    if (e->fate == QB_FATE_NEW_ZEROS)
        put_new(f, e);
    if (e->fate == QB_FATE_IN_PLACE)
        put_in_place(f, e);
    if (e->fate == QB_FATE_COPY)
        put_copies(f, e);
    if (e->fate == QB_FATE_REPACK)
        put_packed(f, e);
    if (e->fate == QB_FATE_APPENDED) {
        const struct qb_new_bytes *c = &f->plan->contents.items[e->source];

        qb_l2_put_as(g, f->table, e->first - f->base, qb_new_with_copied(f->plan, f->t, c->offset),
                     c->bitmap);
        f->n_appended += e->n;
    }
}

static int fill_run(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    struct filling *f = arg;
    uint64_t n = f->parts->n, end = e->first + e->n;
    struct qb_entries piece = *e;

    for (; piece.first < end; piece.first += piece.n) {
        unsigned part = piece.first >= n;

        f->table = f->parts->part[part];
        f->base = part ? n : 0;
        piece.n = QB_MIN(f->base + n, end) - piece.first;
        if (f->table)
            fill_part(f, &piece);
        else if (e->fate != QB_FATE_UNALLOCATE &&
                 !(e->fate == QB_FATE_KEEP && e->kind == QB_UNALLOCATED))
            return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                           "entries of the L2 table at L1 entry %" PRIu32 " have no place",
                           f->t->l1_index);
    }
    return 0;
}

int qb_new_fill(struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                const struct qb_new_parts *parts, struct qb_err *err)
{
    struct filling f = {
        .plan = plan,
        .t = t,
        .source = source,
        .parts = parts,
        .cursor = {t->new_first, t->new_used},
        .packing = qb_packing_begin(plan, t),
    };

    if (!qb_new_fill_plain(plan, t, source, parts, &f.n_new) &&
        qb_new_walk(plan, t, source, fill_run, &f, err) < 0)
        return -1;
    if (f.n_new == t->n_new && f.n_appended == t->n_appended && f.n_copied == t->n_copied &&
        f.packing.i == t->repacked.n)
        return 0;
    return qb_fail(err, QB_E_INTERNAL, t->offset,
                   "an L2 table takes %" PRIu64 " new clusters, and %" PRIu64 " were planned",
                   f.n_new + f.n_appended + f.n_copied, t->n_new + t->n_appended + t->n_copied);
}
