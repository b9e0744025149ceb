/* compat: version 2 does not have zero clusters.  One becomes unallocated where nothing shows below
 * it, else a cluster of zeros. */
#include "amend/new_tables.h"
#include "amend/rule.h"

/* The first entry of the table from which on zero clusters may be unallocated. */
static uint64_t backed_end(const struct qb_plan *plan, const struct qb_new_table *t)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t first = t->l1_index * g->l1_span, limit = plan->below.size;

    /* VM state that only the active layer has is of no use to anyone behind the disk's end. */
    if (t->active && t->refs == 1)
        limit = QB_MIN(limit, plan->target.header.size);
    return limit > first ? QB_MIN(qb_div_up(limit - first, g->cluster_size), g->l2_entries) : 0;
}

static bool is_deferred(const struct qb_new_table *t, uint64_t i)
{
    return t->deferred && t->deferred[i / 8] >> (i % 8) & 1;
}

static void entries(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    bool zero = e->kind == QB_ZERO_PLAIN || e->kind == QB_ZERO_ALLOCATED;
    uint64_t end = e->first + e->n, at = e->first;

    if (plan->target.header.version != 2 ||
        !(e->fate == QB_FATE_ZERO || (e->fate == QB_FATE_KEEP && zero)))
        return;
    if (at < backed_end(plan, t)) {
        end = QB_MIN(end, backed_end(plan, t));
        while (t->deferred && at < end && is_deferred(t, at) == is_deferred(t, e->first))
            at++;
        e->n = (t->deferred ? at : end) - e->first;
        e->fate = is_deferred(t, e->first) ? QB_FATE_UNALLOCATE : QB_FATE_NEW_ZEROS;
    } else {
        e->fate = QB_FATE_UNALLOCATE;
    }
}

/* ---- zero_clusters: defer -------------------------------------------------------------------- */

/* Whether the chain proves that the cluster at `guest` reads zero without the image's entry: by
 * what it has allocated where that will do, else by its bytes. */
static int reads_zero_below(struct qb_visit *v, uint64_t guest, bool *zero, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    uint64_t cs = plan->in.img->geom.cluster_size;
    struct qb_range data;
    struct qb_err why;

    *zero = guest >= v->empty.first && guest + cs <= v->empty.end;
    if (*zero)
        return 0;
    if (qb_chain_next_data(v->io, &plan->below.chain, guest, INT64_MAX, &data, err) < 0)
        return -1;
    v->empty = (struct qb_range){guest, data.first};
    *zero = guest + cs <= data.first;
    if (*zero)
        return 0;
    if (qb_chain_read(v->io, &plan->below.chain, guest, cs, v->below, &why) == 0) {
        *zero = qb_all_zero(v->below, cs);
        return 0;
    }
    if (why.code == QB_E_UNSUPPORTED)
        return 0; /* not provable: the entry gets a cluster */
    *err = why;
    return -1;
}

struct deferral {
    struct qb_visit *v;
    struct qb_new_table *t;
};

static int make_room(struct qb_visit *v, struct qb_new_table *t, struct qb_err *err)
{
    const struct qb_geom *g = &v->plan->in.img->geom;

    if (!t->deferred && qb_counts_hold(&v->plan->census.counts, g->l2_entries / 8, err) < 0)
        return -1;
    if (!t->deferred)
        t->deferred = calloc(1, g->l2_entries / 8);
    if (!v->below)
        v->below = malloc(g->cluster_size);
    return t->deferred && v->below ? 0 : qb_fail_memory(err);
}

/* What the whole chain reads as zero may become unallocated. */
static int defer(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    const struct deferral *d = arg;
    struct qb_new_table *t = d->t;
    const struct qb_geom *g = &d->v->plan->in.img->geom;
    bool zero;

    if (e->fate != QB_FATE_NEW_ZEROS)
        return 0;
    if (make_room(d->v, t, err) < 0)
        return -1;
    for (uint64_t i = e->first; i < e->first + e->n; i++) {
        if (reads_zero_below(d->v, t->l1_index * g->l1_span + i * g->cluster_size, &zero, err) < 0)
            return -1;
        if (zero)
            t->deferred[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    return 0;
}

static int look(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err)
{
    struct deferral d = {v, t};

    if (v->plan->in.rq->zero_clusters != QB_ZERO_DEFER)
        return 0;
    return qb_new_walk(v->plan, t, source, defer, &d, err);
}

const struct qb_rule qb_rule_compat = {
    .name = "compat",
    .entries = entries,
    .look = look,
};
