/* Writes clusters that are compressed anew: first those that do not get smaller, then the others,
 * one after the other. */
#include <string.h>

#include "amend/append_parts.h"
#include "plan/new_tables.h"
#include "plan/recode.h"

struct packing_run {
    struct qb_plan *plan;
    struct qb_writer *w;
    size_t step;                /* of which the table comes next */
    struct qb_recoder *recoder; /* the plan's */
    uint8_t *cluster;           /* that is being filled, owned */
    const struct qb_new_table *t;
    const uint8_t *source;
    bool plain; /* those that do not get smaller, else the others */
    struct qb_packing packing;
    uint64_t at; /* the next byte to be written, of the file */
};

static int put(struct packing_run *r, const uint8_t *bytes, uint64_t len, struct qb_err *err)
{
    uint64_t cs = r->plan->geom.cluster_size, n;

    for (; len; len -= n, r->at += n) {
        n = QB_MIN(len, cs - r->at % cs);
        if (bytes)
            memcpy(r->cluster + r->at % cs, bytes, n);
        else
            memset(r->cluster + r->at % cs, 0, n);
        bytes = bytes ? bytes + n : NULL;
        if ((r->at + n) % cs == 0 && qb_writer_put(r->w, r->cluster, cs, cs, err) < 0)
            return -1;
    }
    return 0;
}

static int put_one(struct packing_run *r, const struct qb_recoded *one, struct qb_err *err)
{
    if (one->place.plain)
        return put(r, one->plain, r->plan->geom.cluster_size, err);
    if (one->len != one->place.len)
        return qb_fail(err, QB_E_INTERNAL, one->place.at,
                       "a cluster was not compressed into as many bytes as was planned");
    if (put(r, NULL, one->place.at - r->at, err) < 0)
        return -1;
    return put(r, one->out, one->len, err);
}

/* Writes the clusters that were added. */
static int put_batch(struct packing_run *r, struct qb_err *err)
{
    struct qb_recoder *c = r->recoder;

    if (c->n && qb_recode_run(c, r->w->io, r->plan, err) < 0)
        return -1;
    for (size_t i = 0; i < c->n; i++)
        if (put_one(r, &c->batch[i], err) < 0)
            return -1;
    c->n = 0;
    return 0;
}

static int put_entry(struct packing_run *r, uint64_t i, struct qb_err *err)
{
    const struct qb_geom *g = &r->plan->in.img->geom;
    uint64_t guest = r->t->l1_index * g->l1_span + i * g->cluster_size;
    struct qb_recoder *c = r->recoder;
    struct qb_packed one;

    if (r->packing.i == r->t->repacked.n)
        return qb_fail(err, QB_E_INTERNAL, r->t->packed_at,
                       "an L2 table has more compressed clusters than were planned");
    one = qb_packing_next(&r->packing);
    if (one.plain != r->plain)
        return 0;
    if ((c->n == c->room && put_batch(r, err) < 0) ||
        qb_recode_add(c, r->w->io, r->plan, qb_l2_get(g, r->source, i, 0), guest, err) < 0)
        return -1;
    c->batch[c->n - 1].place = one;
    return 0;
}

static int put_run(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    struct packing_run *r = arg;

    for (uint64_t i = e->first; e->fate == QB_FATE_REPACK && i < e->first + e->n; i++)
        if (put_entry(r, i, err) < 0)
            return -1;
    return 0;
}

static int put_table(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct packing_run *r = arg;
    const struct qb_step *step = &r->plan->place.steps.items[r->step++];

    (void)index;
    r->t = &r->plan->new_tables.list.items[step->index];
    r->source = source;
    r->at = step->offset;
    if (qb_writer_seek(r->w, step->offset, err) < 0)
        return -1;
    for (r->plain = true;; r->plain = false) {
        r->packing = qb_packing_begin(r->plan, r->t);
        if (qb_new_walk(r->plan, r->t, source, put_run, r, err) < 0 || put_batch(r, err) < 0)
            return -1;
        if (!r->plain)
            break;
    }
    if (r->packing.i != r->t->repacked.n)
        return qb_fail(err, QB_E_INTERNAL, step->offset,
                       "an L2 table has fewer compressed clusters than were planned");
    return put(r, NULL, step->offset + step->len - r->at, err);
}

int qb_append_packed(struct qb_writer *w, struct qb_plan *plan, size_t first, size_t end,
                     struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_l2_table *list = calloc(end - first, sizeof(*list));
    QB_AUTO(qb_buf) uint8_t *cluster = malloc(plan->geom.cluster_size);
    struct packing_run r = {.plan = plan, .w = w, .step = first, .cluster = cluster};
    struct qb_tables tables = {list, end - first, end - first};

    if (!list || !cluster)
        return qb_fail_memory(err);
    for (size_t i = first; i < end; i++)
        list[i - first].offset = qb_append_source(plan, plan->place.steps.items[i].index);
    r.recoder = qb_recoder_of(plan, err);
    if (!r.recoder)
        return -1;
    return qb_tables_scan(
        &(struct qb_table_scan){w->io, plan->in.img, &tables, false, put_table, &r}, err);
}
