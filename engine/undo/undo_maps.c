/* Proves for an undo that in every layer both headers map every cluster alike.  An entry is
 * compared by what it says, not by how: a standard entry is an extended one whose subclusters are
 * all allocated, all zero, or none. */
#include "undo/undo_pairs.h"

#include <string.h>

#include "base/own.h"
#include "io/ahead.h"
#include "chain/chain.h"

struct maps {
    struct qb_proving *p;
    qb_pairs pairs;
    uint8_t *old, *now; /* a table each */
    uint8_t *cluster;   /* and one of data, read by `ahead`; owned, as are the tables */
    struct qb_ahead ahead;
    uint64_t kept;  /* bytes of the active disk that both sizes have */
    uint64_t shown; /* see find_shown */
    bool shown_known;
};

/* What an entry says, in either format. */
struct mapping {
    enum qb_kind kind;
    uint64_t place;  /* its first word, without COPIED and, unless it is compressed, without ZERO */
    uint64_t bitmap; /* as qb_l2_bitmap has it */
};

static bool is_resized(const struct qb_proving *p)
{
    return p->old.header.size != p->now.header.size;
}

/* ---- two entries ----------------------------------------------------------------------------- */

static struct mapping mapping_at(const struct qb_geom *g, const uint8_t *table, uint64_t i)
{
    struct mapping m = {qb_l2_kind_at(g, table, i), qb_l2_get(g, table, i, 0) & ~QB_ENTRY_COPIED,
                        qb_l2_bitmap(g, table, i)};

    if (m.kind != QB_COMPRESSED)
        m.place &= ~QB_ENTRY_ZERO;
    return m;
}

static bool is_same(const struct mapping *a, const struct mapping *b)
{
    return a->kind == b->kind && a->place == b->place && a->bitmap == b->bitmap;
}

/* Guest bytes from which on the old image's backing file shows nothing. */
static int find_shown(struct maps *m)
{
    const struct qb_image *old = &m->p->old;
    struct qb_chain chain = {0};

    if (m->shown_known)
        return 0;
    if (old->backing_name[0]) {
        if (qb_chain_open(m->p->io,
                          &(struct qb_chain_top){old->file->path, old->file, old->backing_name,
                                                 old->backing_fmt},
                          QB_CHAIN_NEAREST | QB_CHAIN_ASSUME, &chain, m->p->err) < 0)
            return -1;
        m->shown = qb_chain_size(&chain);
        qb_chain_close(&chain);
    }
    m->shown_known = true;
    return 0;
}

/* Whether it names one of the new clusters of zeros, which were found to be zeros still. */
static bool is_in_zeros(const struct qb_proving *p, const struct mapping *now)
{
    return qb_l2_has_host(now->kind) && (now->place & QB_ENTRY_OFFSET) == now->place &&
           qb_proof_is_zeros(p->proof, now->place);
}

/* Whether the amend gave guest cluster `cluster`, which had no host cluster, or (extended entries)
 * nothing in it, one of the new clusters of zeros, whichever table leads there.  An extended entry
 * shows what it did without; others show those zeros, and the old one has to read zero. */
static int is_allocated(struct maps *m, uint64_t cluster, const struct mapping *old,
                        const struct mapping *now)
{
    bool is_empty = old->kind == QB_UNALLOCATED || old->kind == QB_IDLE;

    if ((old->place != 0 && !is_empty) || old->kind == QB_COMPRESSED || !is_in_zeros(m->p, now))
        return 0;
    if (old->bitmap == now->bitmap)
        return 1;
    if (now->kind != QB_DATA)
        return 0;
    if (old->kind == QB_ZERO_PLAIN)
        return 1;
    if (!is_empty)
        return 0;
    return find_shown(m) < 0 ? -1 : cluster * m->p->old.geom.cluster_size >= m->shown;
}

/* Whether the cluster is one that the amend recompressed: table and bytes are as it wrote them, and
 * only clusters that were compressed in the other way lead there. */
static bool is_recompressed(const struct qb_proving *p, const struct qb_pair *pair,
                            const struct mapping *old, const struct mapping *now)
{
    struct qb_compressed z = qb_l2_compressed(&p->now.geom, now->place);

    if (old->kind != QB_COMPRESSED || !qb_proof_is_new(p->proof, pair->now.offset) ||
        p->old.header.compression_type == p->now.header.compression_type)
        return false;
    if (now->kind == QB_DATA)
        return qb_proof_is_new(p->proof, now->place);
    return now->kind == QB_COMPRESSED && qb_proof_is_new(p->proof, z.offset) &&
           qb_proof_is_new(p->proof, z.offset + z.available - 1);
}

/* Whether a cluster that has none now reads zero as it did, because its old one, which stayed
 * counted, holds nothing but zeros (reclaim.zeros).  So an undo hides nothing, whoever made it a
 * zero cluster.  -1 where it cannot be read. */
static int holds_zeros(struct maps *m, const struct mapping *old, const struct mapping *now)
{
    const struct qb_proving *p = m->p;
    uint64_t cs = p->old.geom.cluster_size;
    bool zero =
        now->kind == QB_ZERO_PLAIN || (now->kind == QB_UNALLOCATED && !p->now.backing_name[0]);

    if (!zero || p->old.geom.external_data)
        return 0;
    if (old->kind != QB_DATA)
        return old->kind == QB_ZERO_ALLOCATED;
    if (!m->cluster && !(m->cluster = malloc(cs)))
        return qb_fail_memory(p->err);
    if (qb_ahead_read(&m->ahead, p->io, p->now.file, old->place & QB_ENTRY_OFFSET, cs, m->cluster,
                      "a cluster of zeros", p->err) < 0)
        return -1;
    return qb_all_zero(m->cluster, cs);
}

/* Whether two entries map a guest cluster alike.  Version 2 has no zero clusters: there a downgrade
 * has left an unallocated entry, or a new cluster that was found to be zeros.  Standard entries
 * have no host cluster of which nothing shows: what had one is unallocated.  And they have no
 * subclusters: a cluster of several sorts was copied, into bytes that are as the amend wrote them.
 */
static bool alike(const struct qb_proving *p, const struct mapping *old, const struct mapping *now)
{
    bool gone = now->kind == QB_UNALLOCATED && now->place == 0;

    if (is_same(old, now))
        return true;
    if (old->kind == QB_IDLE && p->now.geom.l2_entry_size == 8)
        return gone;
    if (old->kind == QB_PARTIAL && p->now.geom.l2_entry_size == 8)
        return now->kind == QB_DATA && qb_proof_is_new(p->proof, now->place);
    if (p->now.header.version != 2 ||
        (old->kind != QB_ZERO_PLAIN && old->kind != QB_ZERO_ALLOCATED))
        return false;
    return gone || (now->kind == QB_DATA && is_in_zeros(p, now));
}

/* Whether of the cluster that holds the smaller disk's end, up to byte `used`, the amend can have
 * filled subclusters at their place in the data file.  With what, undo_data.c looks. */
static bool is_filled_in_place(const struct qb_geom *g, uint64_t cluster, uint64_t used,
                               const struct mapping *old, const struct mapping *now)
{
    uint64_t sub = g->cluster_size / QB_SUBCLUSTERS;

    if (old->kind == QB_COMPRESSED || !qb_l2_has_host(now->kind) ||
        now->place != cluster * g->cluster_size)
        return false;
    for (unsigned i = 0; i * sub < used; i++) {
        enum qb_sub was = qb_l2_subcluster(old->bitmap, i), is = qb_l2_subcluster(now->bitmap, i);

        if (was != is && (was != QB_SUB_UNALLOCATED || is != QB_SUB_ALLOCATED))
            return false;
    }
    return true;
}

/* Whether the two images may differ at this cluster of the active disk: past the part that both
 * sizes cover, and in the cluster in which that part ends, which the amend copied. */
static bool is_edge(const struct maps *m, const struct qb_pair *pair, uint64_t cluster,
                    const struct mapping *old, const struct mapping *now)
{
    const struct qb_proving *p = m->p;
    uint64_t cs = p->old.geom.cluster_size;

    if (!pair->active || !is_resized(p))
        return false;
    if (cluster >= qb_div_up(m->kept, cs))
        return true;
    if (m->kept % cs == 0 || cluster != m->kept / cs)
        return false;
    if (p->old.geom.external_data) /* their places are no bytes of the image */
        return p->now.header.size > m->kept &&
               is_filled_in_place(&p->old.geom, cluster, m->kept % cs, old, now);
    return qb_l2_has_host(now->kind) && qb_proof_is_new(p->proof, now->place & QB_ENTRY_OFFSET);
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

static int refuse(struct maps *m, const struct qb_pair *pair, uint64_t cluster)
{
    uint64_t at = cluster * m->p->old.geom.cluster_size;

    return qb_undo_refuse(m->p, pair->now.offset, "what the %s at %llu consists of changed",
                          pair->piece.is_state ? "cluster of VM state" : "guest cluster",
                          (unsigned long long)at);
}

static int compare_pair(struct maps *m, const struct qb_pair *pair)
{
    struct qb_proving *p = m->p;
    uint64_t n = qb_piece_entries(p), first = pair->piece.number * n;

    if (qb_io_go_on(p->io, p->err) < 0 || qb_undo_read_table(p, pair->old.offset, m->old) < 0 ||
        qb_undo_read_table(p, pair->now.offset, m->now) < 0)
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        struct mapping old = mapping_at(&p->old.geom, m->old, pair->old.first + i);
        struct mapping now = mapping_at(&p->now.geom, m->now, pair->now.first + i);
        int given;

        if (alike(p, &old, &now) || is_edge(m, pair, first + i, &old, &now) ||
            is_recompressed(p, pair, &old, &now))
            continue;
        given = is_allocated(m, first + i, &old, &now);
        if (given == 0)
            given = holds_zeros(m, &old, &now);
        if (given <= 0)
            return given < 0 ? -1 : refuse(m, pair, first + i);
    }
    return 0;
}

int qb_undo_compare_maps(struct qb_proving *p)
{
    uint64_t cs = p->old.geom.cluster_size;
    struct maps m = {.p = p, .old = malloc(cs), .now = malloc(cs)};
    int r = m.old && m.now ? 0 : qb_fail_memory(p->err);

    m.kept = QB_MIN(p->old.header.size, p->now.header.size);
    if (r == 0)
        r = qb_undo_pair_tables(p, &m.pairs);
    for (size_t i = 0; r == 0 && i < m.pairs.n; i++)
        r = compare_pair(&m, &m.pairs.items[i]);
    qb_vec_free(&m.pairs);
    qb_ahead_free(&m.ahead);
    free(m.cluster);
    free(m.old);
    free(m.now);
    return r;
}
