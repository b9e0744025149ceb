/* Decides what becomes of each L2 entry, and fills new L2 tables accordingly.
 *
 * Guest content is sacred in the active layer and in every snapshot: an entry that reads zero goes
 * on reading zero, and a preallocated host cluster is never written to, because a snapshot may own
 * it: it loses this reference and is freed when that was the last.
 *
 * The decision is made in one place, qb_new_walk, run by run: once to count what a table takes and
 * once to fill it.  Filling checks that it took just what was counted. */
#include <inttypes.h>
#include <string.h>

#include "amend/new_tables.h"
#include "amend/release.h"
#include "amend/rule.h"

/* ---- the decision ---------------------------------------------------------------------------- */

static enum qb_kind kind_at(const struct qb_geom *g, const uint8_t *source, uint64_t i)
{
    return qb_l2_kind(g, qb_l2_get(g, source, i, 0));
}

/* The entries from `first` on that are of one kind.  Most of most tables is blocks of entries that
 * are all plain zero clusters, or nothing. */
static struct qb_entries next_run(const struct qb_geom *g, const struct qb_new_table *t,
                                  const uint8_t *source, uint64_t first)
{
    struct qb_entries e = {.first = first, .n = g->l2_entries - first, .kind = QB_ZERO_PLAIN};
    uint64_t at = first, end = g->l2_entries;
    int whole;

    if (t->all_zeros)
        return e;
    e.kind = kind_at(g, source, first);
    whole = e.kind == QB_ZERO_PLAIN ? QB_L2_BLOCK : e.kind == QB_UNALLOCATED ? 0 : -2;
    do {
        if (whole >= 0 && at % QB_L2_BLOCK == 0 && qb_l2_plain_zeros(g, source, at) == whole)
            at += QB_L2_BLOCK;
        else
            at++; /* which is of that kind */
    } while (at < end && kind_at(g, source, at) == e.kind);
    e.n = at - first;
    return e;
}

void qb_new_decide(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    e->fate = QB_FATE_KEEP;
    for (unsigned i = 0; i < plan->new_tables.n_deciders; i++) {
        enum qb_fate before = e->fate;

        plan->new_tables.deciders[i](plan, t, e);
        if (before != QB_FATE_KEEP && before != QB_FATE_ZERO && e->fate != before)
            e->fate = QB_FATE_DISPUTED;
    }
}

int qb_new_walk(const struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                qb_entries_fn *fn, void *arg, struct qb_err *err)
{
    const struct qb_geom *g = &plan->in.img->geom;
    struct qb_entries e;

    for (uint64_t i = 0; i < g->l2_entries; i += e.n) {
        e = next_run(g, t, source, i);
        qb_new_decide(plan, t, &e);
        if (e.fate == QB_FATE_DISPUTED)
            return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                           "two rules disagree about guest cluster %" PRIu64,
                           t->l1_index * g->l2_entries + i);
        if (fn(arg, &e, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- filling --------------------------------------------------------------------------------- */

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

    if (!t->active || plan->in.img->geom.external_data)
        return entry;
    entry &= ~QB_ENTRY_COPIED;
    return qb_count_is_single(plan, cluster) ? entry | QB_ENTRY_COPIED : entry;
}

struct filling {
    struct qb_plan *plan;
    const struct qb_new_table *t;
    const uint8_t *source;
    uint8_t *table;
    struct qb_cursor cursor;
    uint64_t n_new, n_appended; /* entries that got a cluster of either sort */
};

static void put_zeros(const struct qb_geom *g, uint8_t *table, const struct qb_entries *e)
{
    const be64 all_zero_subclusters = be64_of(0xffffffff00000000ull);

    if (g->l2_entry_size == 16)
        memset(table + e->first * 16, 0, e->n * 16);
    for (uint64_t i = e->first; i < e->first + e->n; i++) {
        if (g->l2_entry_size == 16)
            memcpy(table + i * 16 + 8, &all_zero_subclusters, 8);
        else
            qb_l2_put(g, table, i, QB_ENTRY_ZERO);
    }
}

/* Whether entries of this kind have a COPIED flag that says something. */
static bool has_flag(enum qb_kind kind)
{
    return kind == QB_DATA || kind == QB_ZERO_ALLOCATED;
}

static void keep(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->in.img->geom;
    uint64_t at = e->first * g->l2_entry_size;

    if (f->t->all_zeros) {
        put_zeros(g, f->table, e);
        return;
    }
    if (g->l2_entry_size != 8 || !f->t->active || !has_flag(e->kind))
        memcpy(f->table + at, f->source + at, e->n * g->l2_entry_size);
    if (!f->t->active || !has_flag(e->kind))
        return;
    for (uint64_t i = e->first; i < e->first + e->n; i++)
        qb_l2_put(g, f->table, i, qb_new_with_copied(f->plan, f->t, qb_l2_get(g, f->source, i, 0)));
}

/* Clusters of one table's own are one stretch, counted as often as the table itself. */
static void put_new(struct filling *f, const struct qb_entries *e)
{
    const struct qb_geom *g = &f->plan->in.img->geom;
    bool share = f->plan->in.rq->zero_clusters == QB_ZERO_SHARE;
    uint64_t copied = f->t->active && f->t->refs == 1 ? QB_ENTRY_COPIED : 0;

    for (uint64_t i = e->first; i < e->first + e->n; i++) {
        uint64_t cluster = qb_new_take_cluster(f->plan, &f->cursor, f->t->refs);
        uint64_t entry = f->plan->zeros.base + cluster * g->cluster_size;

        qb_l2_put(g, f->table, i,
                  share ? qb_new_with_copied(f->plan, f->t, entry) : entry | copied);
    }
    f->n_new += e->n;
}

static int fill_run(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    struct filling *f = arg;
    const struct qb_geom *g = &f->plan->in.img->geom;
    uint64_t at = e->first * g->l2_entry_size;

    (void)err;
    if (e->fate == QB_FATE_KEEP) {
        keep(f, e);
        return 0;
    }
    if (e->fate == QB_FATE_ZERO) {
        put_zeros(g, f->table, e);
        return 0;
    }
    if (e->fate != QB_FATE_NEW_ZEROS || g->l2_entry_size != 8)
        memset(f->table + at, 0, e->n * g->l2_entry_size);
    if (e->fate == QB_FATE_NEW_ZEROS)
        put_new(f, e);
    if (e->fate == QB_FATE_APPENDED) {
        uint64_t offset = f->plan->contents.items[e->source].offset;

        qb_l2_put(g, f->table, e->first, qb_new_with_copied(f->plan, f->t, offset));
        f->n_appended += e->n;
    }
    return 0;
}

int qb_new_fill(struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                uint8_t *table, struct qb_err *err)
{
    struct filling f = {plan, t, source, table, {t->new_first, t->new_used}, 0, 0};

    if (qb_new_walk(plan, t, source, fill_run, &f, err) < 0)
        return -1;
    if (f.n_new == t->n_new && f.n_appended == t->n_appended)
        return 0;
    return qb_fail(err, QB_E_INTERNAL, t->offset,
                   "an L2 table takes %" PRIu64 " new clusters, and %" PRIu64 " were planned",
                   f.n_new + f.n_appended, t->n_new + t->n_appended);
}
