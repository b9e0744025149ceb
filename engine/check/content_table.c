/* One L2 table, brought into a form that does not depend on how it is written down.
 *
 * The form is a list of runs, as long as they can be: guest clusters that follow each other and are
 * zero, or lie in host clusters that follow each other.  Left out are unallocated clusters and zero
 * clusters that would read zero if they were unallocated, so that a table of nothing else is like
 * no table. */
#include "check/content_parts.h"

enum run_kind {
    RUN_ZERO = 1,
    RUN_DATA,
    RUN_COMPRESSED,
    RUN_NEW, /* a new cluster that holds something: nothing before was like that */
};

/* What the hash is fed with; all words, no padding. */
struct run {
    uint64_t kind, first, n;
    uint64_t value;  /* the entry of the first, without COPIED */
    uint64_t bitmap; /* extended L2: its subclusters */
};

struct walk {
    struct qb_taking *t;
    uint32_t l1_index;
    bool active;    /* it is read for the active layer, up to what is compared of that */
    struct run run; /* n = 0: none */
    bool any;
};

/* The host clusters of a run: their number, from *first on; 0 where nothing of them shows. */
static uint64_t hosts_of(const struct qb_taking *t, const struct run *r, uint64_t *first)
{
    const struct qb_geom *g = &t->img->geom;
    struct qb_compressed z = qb_l2_compressed(g, r->value);
    uint64_t end = QB_MIN(z.offset + z.available, t->img->file->size);

    *first = (r->kind == RUN_COMPRESSED ? z.offset : r->value & QB_ENTRY_OFFSET) >> g->cluster_bits;
    if (r->kind == RUN_COMPRESSED)
        return qb_div_up(end, g->cluster_size) - *first;
    /* Of an extended entry without allocated subclusters nothing shows. */
    return r->kind == RUN_DATA && (g->l2_entry_size == 8 || (uint32_t)r->bitmap) ? r->n : 0;
}

static int note_hosts(struct qb_taking *t, const struct run *r, struct qb_err *err)
{
    uint64_t first, n = hosts_of(t, r, &first);

    if (n && first == 0) /* which every amend writes */
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

/* Where the guest bytes end that are compared: the active disk may end within a cluster. */
static uint64_t guest_end(const struct walk *w)
{
    return w->active ? w->t->rules->new_size : UINT64_MAX;
}

/* Zero clusters [i, i + n), which the chain may show data for: with `defers` its bytes may prove
 * that it does not. */
static int push_proved_zeros(struct walk *w, uint64_t i, uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &w->t->img->geom;
    uint64_t guest = w->l1_index * g->l1_span + i * g->cluster_size;

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

/* Zero clusters [i, i + n), of which those count that would not read zero anyway. */
static int push_zeros(struct walk *w, uint64_t i, uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &w->t->img->geom;
    const struct qb_content_rules *rules = w->t->rules;
    uint64_t guest = w->l1_index * g->l1_span + i * g->cluster_size, end, alike;

    if (guest >= rules->zero_from)
        return 0;
    n = QB_MIN(n, qb_div_up(rules->zero_from - guest, g->cluster_size));
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

static int push_data(struct walk *w, uint64_t i, uint64_t entry, uint64_t bitmap,
                     struct qb_err *err)
{
    struct qb_taking *t = w->t;
    uint64_t offset = entry & QB_ENTRY_OFFSET;
    struct run run = {RUN_DATA, i, 1, entry & ~QB_ENTRY_COPIED, bitmap};

    if (offset % t->img->geom.cluster_size || offset >= t->img->file->size)
        return qb_fail(err, QB_E_CORRUPT, offset, "a data cluster is misplaced");
    if (offset >= t->rules->new_from) {
        bool zero;

        if (qb_content_new_is_zero(t, offset, &zero, err) < 0)
            return -1;
        if (zero)
            return push_zeros(w, i, 1, err);
        run.kind = RUN_NEW;
    }
    return push(w, run, err);
}

static int push_compressed(struct walk *w, uint64_t i, uint64_t entry, uint64_t bitmap,
                           struct qb_err *err)
{
    struct qb_compressed z = qb_l2_compressed(&w->t->img->geom, entry);

    if (z.offset >= w->t->img->file->size)
        return qb_fail(err, QB_E_CORRUPT, z.offset,
                       "a compressed cluster lies behind the end of the file");
    return push(w, (struct run){RUN_COMPRESSED, i, 1, entry & ~QB_ENTRY_COPIED, bitmap}, err);
}

static int push_entry(struct walk *w, const uint8_t *table, uint64_t i, struct qb_err *err)
{
    const struct qb_geom *g = &w->t->img->geom;
    uint64_t entry = qb_l2_get(g, table, i, 0);
    uint64_t bitmap = g->l2_entry_size == 16 ? qb_l2_get(g, table, i, 1) : 0;

    switch (qb_l2_kind(g, entry)) {
    case QB_ZERO_PLAIN:
    case QB_ZERO_ALLOCATED:
        return push_zeros(w, i, 1, err);
    case QB_DATA:
        return push_data(w, i, entry, bitmap, err);
    case QB_COMPRESSED:
        return push_compressed(w, i, entry, bitmap, err);
    case QB_UNALLOCATED:
        break;
    }
    if (bitmap == 0xffffffff00000000ull) /* all of its subclusters read zero */
        return push_zeros(w, i, 1, err);
    /* Some of them do: its own kind of data, of which no host byte shows. */
    return bitmap ? push(w, (struct run){RUN_DATA, i, 1, 0, bitmap}, err) : 0;
}

/* Entries [i, end), all as they are. */
static int push_entries(struct walk *w, const uint8_t *table, uint64_t i, uint64_t end,
                        struct qb_err *err)
{
    while (i < end) {
        int zeros = -1;

        if (i % QB_L2_BLOCK == 0 && i + QB_L2_BLOCK <= end)
            zeros = qb_l2_plain_zeros(&w->t->img->geom, table, i);
        if (zeros == QB_L2_BLOCK && push_zeros(w, i, QB_L2_BLOCK, err) < 0)
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

/* A guest cluster as an entry of this table: before the table 0, behind it the number of them. */
static uint64_t entry_of(const struct walk *w, uint64_t cluster)
{
    uint64_t n = w->t->img->geom.l2_entries, first = w->l1_index * n;

    return cluster <= first ? 0 : QB_MIN(cluster - first, n);
}

static int walk_active(struct walk *w, const uint8_t *table, struct qb_err *err)
{
    const struct qb_taking *t = w->t;
    uint64_t real = entry_of(w, t->real_end), blank = entry_of(w, t->blank_end);
    uint64_t edge = t->edge == QB_NO_CLUSTER ? real : QB_MIN(entry_of(w, t->edge), real);
    uint64_t behind = t->edge == QB_NO_CLUSTER ? real : entry_of(w, t->edge + 1);

    if (table && push_entries(w, table, 0, edge, err) < 0)
        return -1;
    if (table && push_entries(w, table, behind, real, err) < 0)
        return -1;
    return blank > real ? push_zeros(w, real, blank - real, err) : 0;
}

int qb_content_table(struct qb_taking *t, const uint8_t *table, uint32_t l1_index, bool active,
                     struct qb_digest *out, struct qb_err *err)
{
    struct walk w = {.t = t, .l1_index = l1_index, .active = active};
    int r;

    qb_hasher_reset(t->hasher);
    r = active ? walk_active(&w, table, err)
               : push_entries(&w, table, 0, t->img->geom.l2_entries, err);
    if (r < 0 || flush(&w, err) < 0)
        return -1;
    *out = w.any ? qb_hasher_end(t->hasher) : (struct qb_digest){0, 0};
    return 0;
}
