/* extended_l2: all L2 tables of all layers are rewritten with entries of the other size
 * (convert.c); data stays where it is, but for clusters whose subclusters differ when it is turned
 * off: a standard entry has none, so each of them gets a copy with what the guest reads there.  A
 * copy always, since another table may name the cluster with other subclusters.  Going down to
 * version 2 includes off (rule_compat.c). */
#include "plan/new_tables.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    struct qb_header *h = &t->header;

    (void)img;
    if (!qb_asked(rq, QB_KEY_EXTENDED_L2) ||
        rq->extended_l2 == !!(h->incompatible & QB_INCOMPAT_EXTENDED_L2))
        return 0;
    if (rq->extended_l2 && h->version == 2)
        return QB_REFUSE("extended_l2=on needs compat=1.1");
    if (rq->extended_l2 && h->cluster_bits < QB_EXTENDED_L2_CLUSTER_BITS)
        return QB_REFUSE(
            "extended_l2=on needs clusters of 16384 bytes or more, and the image has %u",
            1u << h->cluster_bits);
    h->incompatible ^= QB_INCOMPAT_EXTENDED_L2;
    t->reach = QB_REACH_TABLES;
    return 1;
}

/* Whether clusters are copied whose subclusters differ. */
static bool copies(const struct qb_plan *plan)
{
    return qb_plan_converts(plan) && plan->geom.l2_entry_size == 8 && plan->census.n_partial;
}

/* VM state moves with the reach of an L1 entry.  A part of it that is not allocated would show
 * another part of the backing file, if that is so long; no program leaves such parts. */
static int check_state(struct qb_plan *plan, unsigned number, struct qb_err *err)
{
    const struct qb_geom *g = &plan->in.img->geom;
    struct qb_layer layer = qb_image_layer(plan->in.img, number);
    struct qb_image as = *plan->in.img; /* with the layer's tables; borrows all else */
    uint64_t first = qb_geom_l1_needed(g, layer.disk_size) * g->l1_span;
    struct qb_l2_place place;

    if (first == qb_geom_l1_needed(&plan->geom, layer.disk_size) * plan->geom.l1_span)
        return 0;
    as.header.l1_offset = layer.l1_offset;
    as.header.l1_size = layer.l1_size;
    for (uint64_t at = 0; at < plan->in.img->snapshots.list.items[number - 1].vm_state_size;
         at += g->cluster_size) { /* no further than what is allocated */
        if (qb_io_go_on(plan->in.io, err) < 0 ||
            qb_image_find(plan->in.io, &as, first + at, &place, err) < 0)
            return -1;
        if (place.kind == QB_UNALLOCATED || place.kind == QB_IDLE || place.kind == QB_PARTIAL)
            return QB_CANNOT("extended_l2 moves the VM state of snapshot %u, and a part of it is "
                             "not allocated, where the backing file could show",
                             number);
    }
    return 0;
}

static int check_states(struct qb_plan *plan, struct qb_err *err)
{
    for (unsigned i = 1; plan->target.backing_name[0] && i < qb_image_layers(plan->in.img); i++)
        if (qb_target_keeps(&plan->target, i - 1) && check_state(plan, i, err) < 0)
            return -1;
    return 0;
}

/* Extended entries that a standard one cannot express, where nothing can be copied. */
static int check(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_census *census = &plan->census;
    bool crypt = plan->in.img->header.crypt_method != 0;
    char where[QB_CENSUS_PLACE_TEXT];

    if (qb_plan_converts(plan) && check_states(plan, err) < 0)
        return -1;
    if (!copies(plan))
        return 0;
    if (!crypt && !plan->in.img->geom.external_data)
        return qb_below_open_to_read(plan, err);
    qb_census_place_text(&census->first_partial, where);
    return qb_fail(err, QB_E_UNSUPPORTED, census->first_partial.at,
                   "%s of an image with %s needs clusters whose subclusters are all alike, and "
                   "%llu are not, the first one for %s",
                   plan->target.header.version == 2 ? "compat=0.10" : "extended_l2=off",
                   crypt ? "encryption" : "an external data file",
                   (unsigned long long)census->n_partial, where);
}

/* Every table is rewritten. */
static int tables(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;

    for (size_t i = 0; qb_plan_converts(plan) && i < plan->census.tables.n; i++)
        if (!plan->new_tables.gone[i] && !plan->new_tables.of[i] &&
            qb_new_replace(plan, i, err) < 0)
            return -1;
    return 0;
}

/* A host cluster of which nothing shows: a standard entry that names it would show it. */
static void encode(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    (void)t;
    if (plan->geom.l2_entry_size != 8 || e->fate != QB_FATE_KEEP)
        return;
    if (e->kind == QB_IDLE)
        e->fate = QB_FATE_UNALLOCATE;
    if (e->kind == QB_PARTIAL)
        e->fate = QB_FATE_COPY;
}

const struct qb_rule qb_rule_extended_l2 = {
    .name = "extended_l2",
    .resolve = resolve,
    .check = check,
    .tables = tables,
    .encode = encode,
};
