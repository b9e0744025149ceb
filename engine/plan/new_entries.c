/* Decides about each L2 entry.
 *
 * Guest content must not change, in the active layer or in any snapshot: an entry that reads zero
 * must still read zero, and a preallocated host cluster is never written to, because a snapshot may
 * use it: it loses this reference, and is freed if that was the last.
 *
 * The decision is made in one place, qb_new_walk, run by run: once to count what a table takes and
 * once to fill it (new_fill.c). */
#include <inttypes.h>
#include <string.h>

#include "plan/new_tables.h"
#include "plan/rule.h"
#include "qcow2/l2_block.h"

/* ---- the decision ---------------------------------------------------------------------------- */

static enum qb_kind kind_at(const struct qb_geom *g, const uint8_t *source, uint64_t i)
{
    return qb_l2_kind_at(g, source, i);
}

/* The run of entries from `first` on that are of one kind.  Most tables consist mostly of blocks of
 * entries that are all plain zero clusters, or all unallocated. */
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
            at++; /* the entry at `at` is of that kind */
    } while (at < end && kind_at(g, source, at) == e.kind);
    e.n = at - first;
    return e;
}

static bool is_new(enum qb_fate fate)
{
    return fate == QB_FATE_NEW_ZEROS || fate == QB_FATE_NEW_PLACE;
}

void qb_new_decide(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    e->fate = QB_FATE_KEEP;
    for (unsigned i = 0; i < plan->new_tables.n_deciders; i++) {
        enum qb_fate before = e->fate;

        plan->new_tables.deciders[i](plan, t, e);
        if (before == QB_FATE_KEEP || before == QB_FATE_ZERO || e->fate == before ||
            (before == QB_FATE_UNALLOCATE && is_new(e->fate)))
            continue;
        e->fate = QB_FATE_DISPUTED;
    }
}

/* Of entries that are kept, only those of several sorts may have a host cluster or not. */
bool qb_new_lacks_host(const struct qb_plan *plan, const uint8_t *source,
                       const struct qb_entries *e, uint64_t i)
{
    return e->shows != QB_FATE_KEEP || e->kind != QB_PARTIAL ||
           !(qb_l2_get(&plan->in.img->geom, source, i, 0) & QB_ENTRY_OFFSET);
}

uint64_t qb_new_taken(const struct qb_plan *plan, const uint8_t *source, const struct qb_entries *e)
{
    uint64_t n = 0;

    if (e->fate != QB_FATE_NEW_PLACE || e->kind != QB_PARTIAL)
        return is_new(e->fate) ? e->n : 0;
    for (uint64_t i = e->first; i < e->first + e->n; i++)
        n += qb_new_lacks_host(plan, source, e, i);
    return n;
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
