/* Computes a digest of one L2 table that does not depend on its encoding.
 *
 * It covers a list of runs, each as long as possible: consecutive guest clusters that are zero, or
 * lie in consecutive host clusters.  Unallocated clusters, and zero clusters that would read zero
 * if they were unallocated, are left out, so that a table of nothing else equals no table. */
#include "content/content_parts.h"
#include "check/version2.h"
#include "qcow2/l2_block.h"

enum run_kind {
    RUN_ZERO = 1,
    RUN_DATA,
    RUN_COMPRESSED,
    RUN_NEW,   /* a new cluster that is not zero: differs from everything before the amend */
    RUN_BYTES, /* a cluster by what the guest reads there */
};

/* The input of the hash; all words, no padding. */
struct run {
    uint64_t kind, first, n;
    uint64_t
        value; /* the host offset of the first; the entry, if compressed; RUN_BYTES: half ... */
    uint64_t
        bitmap; /* extended L2: its subclusters; RUN_BYTES: ... of a digest, and the other half */
};

struct walk {
    struct qb_taking *t;
    const uint8_t *table; /* the entries; NULL: none */
    uint64_t first;       /* guest cluster of entry 0 */
    bool active;    /* it is read for the active layer, up to the end of what is compared of that */
    struct run run; /* n = 0: none */
    bool any;
};

/* The number of host clusters of a run, from *first on; 0 if the guest sees none of them. */
static uint64_t hosts_of(const struct qb_taking *t, const struct run *r, uint64_t *first)
{
    const struct qb_geom *g = &t->img->geom;
    struct qb_compressed z = qb_l2_compressed(g, r->value);
    uint64_t end = QB_MIN(z.offset + z.available, t->img->file->size);

    *first = (r->kind == RUN_COMPRESSED ? z.offset : r->value & QB_ENTRY_OFFSET) >> g->cluster_bits;
    if (r->kind == RUN_COMPRESSED)
        return qb_div_up(end, g->cluster_size) - *first;
    /* The guest sees nothing of an extended entry without allocated subclusters. */
    return r->kind == RUN_DATA && (uint32_t)r->bitmap ? r->n : 0;
}

static int note_hosts(struct qb_taking *t, const struct run *r, struct qb_err *err)
{
    uint64_t first, n = hosts_of(t, r, &first);

    if (n && first == 0 && !t->rules->data) /* which every amend writes */
        return qb_fail(err, QB_E_CORRUPT, 0, "the header's cluster is used for guest data");
    return n ? qb_counts_add_data(&t->hosts, first, n, 1, 0, err) : 0;
}

static int flush(struct walk *w, struct qb_err *err)
{
    if (w->run.n == 0)
        return 0;
    qb_hasher_add(w->t->hasher, &w->run, sizeof(w->run));
    w->any = true;
    if (note_hosts(w->t, &w->run, err) < 0)
        return -1;
    w->run.n = 0;
    return 0;
}

static bool joins(const struct walk *w, const struct run *next)
{
    const struct run *r = &w->run;

    if (r->n == 0 || r->kind != next->kind || r->first + r->n != next->first ||
        r->bitmap != next->bitmap)
        return false;
    return r->kind == RUN_ZERO || (r->kind == RUN_DATA && (next->value & QB_ENTRY_OFFSET) &&
                                   next->value == r->value + r->n * w->t->img->geom.cluster_size);
}

static int push(struct walk *w, struct run next, struct qb_err *err)
{
    if (joins(w, &next)) {
        w->run.n += next.n;
        return 0;
    }
    if (flush(w, err) < 0)
        return -1;
    w->run = next;
    return 0;
}

/* The end of the guest bytes that are compared: the active disk may end within a cluster. */
static uint64_t guest_end(const struct walk *w)
{
    return w->active ? w->t->rules->new_size : UINT64_MAX;
}

/* Adds zero clusters [i, i + n) for which the chain may show data: with `defers` its bytes may
 * prove that it shows none. */
static int push_proved_zeros(struct walk *w, uint64_t i, uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &w->t->img->geom;
    uint64_t guest = (w->first + i) * g->cluster_size;

    if (!w->t->rules->defers)
        return push(w, (struct run){RUN_ZERO, i, n, 0, 0}, err);
    for (uint64_t k = 0; k < n; k++) {
        struct qb_range at = {guest + k * g->cluster_size, guest_end(w)};
        bool zero;

        if (qb_content_zero_below(w->t, at, &zero, err) < 0)
            return -1;
        if (!zero && push(w, (struct run){RUN_ZERO, i + k, 1, 0, 0}, err) < 0)
            return -1;
    }
    return 0;
}

/* Adds those of the zero clusters [i, i + n) that would not read zero anyway. */
static int push_zeros(struct walk *w, uint64_t i, uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &w->t->img->geom;
    const struct qb_content_rules *rules = w->t->rules;
    uint64_t guest = (w->first + i) * g->cluster_size, end, alike;

    if (guest >= rules->zero_from)
        return 0;
    n = qb_min(n, qb_div_up(rules->zero_from - guest, g->cluster_size));
    for (end = i + n; i < end; i += alike, guest += alike * g->cluster_size) {
        bool empty = false;

        alike = end - i;
        if (qb_content_needs_proof(w->t, guest) &&
            qb_content_below(w->t, (struct qb_range){guest, guest_end(w)}, end - i, &alike, &empty,
                             err) < 0)
            return -1;
        if (!empty && push_proved_zeros(w, i, alike, err) < 0)
            return -1;
    }
    return 0;
}

/* Zero clusters [i, i + n) as the table has them, which version 2 has not. */
static int push_stored_zeros(struct walk *w, uint64_t i, uint64_t n, struct qb_err *err)
{
    if (w->t->img->header.version == 2)
        return qb_version2_refuse(QB_NOWHERE, err);
    return push_zeros(w, i, n, err);
}

/* A cluster that the old image does not have: of a data file, one past the old disk's end. */
static bool is_new(const struct walk *w, uint64_t i, uint64_t offset)
{
    const struct qb_content_rules *rules = w->t->rules;
    uint64_t cs = w->t->img->geom.cluster_size;

    if (rules->data)
        return (w->first + i) * cs >= qb_round_up(rules->old_size, cs);
    return qb_content_is_new(rules, offset);
}

static int push_bytes(struct walk *w, uint64_t i, uint64_t entry, uint64_t bitmap,
                      struct qb_err *err)
{
    uint64_t guest = (w->first + i) * w->t->img->geom.cluster_size;
    struct qb_digest d;
    bool zero;

    if (entry & QB_ENTRY_COMPRESSED
            ? qb_content_packed_bytes(w->t, w->table, i, &d, &zero, err) < 0
            : qb_content_bytes(w->t, guest, entry, bitmap, &d, &zero, err) < 0)
        return -1;
    if (zero)
        return push_zeros(w, i, 1, err);
    if (w->t->rules->moves) /* as it is, subclusters included */
        d.high ^= bitmap;
    return push(w, (struct run){RUN_BYTES, i, 1, d.low, d.high}, err);
}

static int push_data(struct walk *w, uint64_t i, uint64_t entry, uint64_t bitmap,
                     struct qb_err *err)
{
    struct qb_taking *t = w->t;
    uint64_t offset = entry & QB_ENTRY_OFFSET;
    struct run run = {RUN_DATA, i, 1, offset, bitmap};
    bool moves = t->rules->moves &&
                 qb_moves_index(t->rules->moves, offset >> t->img->geom.cluster_bits) != UINT64_MAX;

    if (offset % t->img->geom.cluster_size || (!t->rules->data && offset >= t->img->file->size))
        return qb_fail(err, QB_E_CORRUPT, offset, "a data cluster is misplaced");
    if (moves)
        return push_bytes(w, i, entry, bitmap, err);
    if (is_new(w, i, offset)) {
        /* A data file may hold anything past the disk's end, which is at the same byte of it. */
        uint64_t limit = t->rules->data ? guest_end(w) : UINT64_MAX;
        bool zero;

        if (t->rules->copies || t->rules->recodes || t->rules->moves)
            return push_bytes(w, i, entry, bitmap, err);
        if (qb_content_new_is_zero(t, offset, limit, &zero, err) < 0)
            return -1;
        if (zero)
            return push_zeros(w, i, 1, err);
        run.kind = RUN_NEW;
    } else if (t->rules->zeros && bitmap == QB_ALL_ALLOCATED) {
        bool zero;

        if (qb_content_new_is_zero(t, offset, offset + t->img->geom.cluster_size, &zero, err) < 0)
            return -1;
        if (zero)
            return push_zeros(w, i, 1, err);
    }
    return push(w, run, err);
}

static int push_compressed(struct walk *w, uint64_t i, uint64_t entry, struct qb_err *err)
{
    struct qb_compressed z = qb_l2_compressed(&w->t->img->geom, entry);

    if (z.offset >= w->t->img->file->size)
        return qb_fail(err, QB_E_CORRUPT, z.offset,
                       "a compressed cluster lies behind the end of the file");
    if (qb_content_is_inflated(w->t, entry))
        return push_bytes(w, i, entry, 0, err);
    return push(w, (struct run){RUN_COMPRESSED, i, 1, entry & ~QB_ENTRY_COPIED, 0}, err);
}

static int push_entry(struct walk *w, const uint8_t *table, uint64_t i, struct qb_err *err)
{
    const struct qb_geom *g = &w->t->img->geom;
    uint64_t entry = qb_l2_get(g, table, i, 0);
    uint64_t bitmap = qb_l2_bitmap(g, table, i);

    switch (qb_l2_kind_at(g, table, i)) {
    case QB_ZERO_PLAIN:
    case QB_ZERO_ALLOCATED:
        return push_stored_zeros(w, i, 1, err);
    case QB_DATA:
        return push_data(w, i, entry, bitmap, err);
    case QB_COMPRESSED:
        return push_compressed(w, i, entry, err);
    case QB_PARTIAL:
        if (w->t->rules->copies)
            return push_bytes(w, i, entry, bitmap, err);
        if ((uint32_t)bitmap)
            return push_data(w, i, entry, bitmap, err);
        /* Some subclusters read zero: a kind of data of its own, of which the guest sees no host
         * byte. */
        return push(w, (struct run){RUN_DATA, i, 1, 0, bitmap}, err);
    case QB_UNALLOCATED:
    case QB_IDLE:
        break;
    }
    return 0;
}

/* Adds the entries [i, end) as they are. */
static int push_entries(struct walk *w, const uint8_t *table, uint64_t i, uint64_t end,
                        struct qb_err *err)
{
    while (i < end) {
        int zeros = -1;

        if (i % QB_L2_BLOCK == 0 && i + QB_L2_BLOCK <= end)
            zeros = qb_l2_plain_zeros(&w->t->img->geom, table, i);
        if (zeros == QB_L2_BLOCK && push_stored_zeros(w, i, QB_L2_BLOCK, err) < 0)
            return -1;
        if (zeros == 0 || zeros == QB_L2_BLOCK) {
            i += QB_L2_BLOCK;
            continue;
        }
        if (push_entry(w, table, i++, err) < 0)
            return -1;
    }
    return 0;
}

/* A guest cluster as an entry of this unit: 0 before it, the number of entries after it. */
static uint64_t entry_of(const struct walk *w, uint64_t cluster)
{
    return cluster <= w->first ? 0 : QB_MIN(cluster - w->first, w->t->unit);
}

static int walk_active(struct walk *w, const uint8_t *table, struct qb_err *err)
{
    const struct qb_taking *t = w->t;
    uint64_t real = entry_of(w, t->real_end), blank = entry_of(w, t->blank_end);
    uint64_t edge = t->edge == QB_NO_CLUSTER ? real : qb_min(entry_of(w, t->edge), real);
    uint64_t behind = t->edge == QB_NO_CLUSTER ? real : entry_of(w, t->edge + 1);

    if (table && push_entries(w, table, 0, edge, err) < 0)
        return -1;
    if (table && push_entries(w, table, behind, real, err) < 0)
        return -1;
    return blank > real ? push_zeros(w, real, blank - real, err) : 0;
}

int qb_content_unit(struct qb_taking *t, const uint8_t *entries, uint64_t first, bool active,
                    struct qb_digest *out, struct qb_err *err)
{
    struct walk w = {.t = t, .table = entries, .first = first, .active = active};
    int r;

    qb_hasher_reset(t->hasher);
    r = active ? walk_active(&w, entries, err) : push_entries(&w, entries, 0, t->unit, err);
    if (r < 0 || flush(&w, err) < 0)
        return -1;
    *out = w.any ? qb_hasher_end(t->hasher) : (struct qb_digest){0, 0};
    return 0;
}
