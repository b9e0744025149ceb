/* compat: an upgrade gives snapshot entries a disk size; a downgrade removes everything that
 * version 2 does not have, or is refused.  A zero cluster becomes unallocated where the backing
 * chain shows nothing, else a cluster of zeros.  What other keys set is checked against version 2
 * as well. */
#include "plan/new_tables.h"
#include "plan/rule.h"
#include "base/units.h"
#include "check/version2.h"

static bool is_upgrade(const struct qb_plan *plan)
{
    return plan->in.img->header.version < plan->target.header.version;
}

static bool is_downgrade(const struct qb_plan *plan)
{
    return plan->in.img->header.version > plan->target.header.version;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    struct qb_header *h = &t->header;

    if (!qb_asked(rq, QB_KEY_COMPAT) || rq->compat == h->version)
        return 0;
    if (rq->compat != 2 && rq->compat != 3)
        return QB_REFUSE("unknown compatibility level %u", rq->compat);
    h->version = rq->compat;
    t->exts_change = true;
    if (h->version == 3)
        return 1;
    if (img->geom.external_data)
        return QB_CANNOT("compat=0.10 does not support external data files");
    t->reach = QB_REACH_TABLES;
    /* rule_compression_type.c and rule_extended_l2.c look for clusters that need these. */
    h->incompatible &= ~(QB_INCOMPAT_COMPRESSION | QB_INCOMPAT_EXTENDED_L2);
    h->compression_type = 0;
    h->compatible = h->autoclear = 0;
    return 1;
}

/* A version 2 entry has no disk size: a snapshot's disk is as large as the image's.  That holds for
 * the image as it shall be, whatever sizes there were on the way. */
static int check_snapshots(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t size = plan->target.header.size;
    const char *hint = is_downgrade(plan) ? "" : "; add compat=1.1";
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];

    for (size_t i = 0; i < img->snapshots.list.n; i++) {
        const struct qb_snapshot *s = &img->snapshots.list.items[i];
        const char *id = (const char *)s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;
        const char *name = s->name_len ? id + s->id_len : id;
        int len = s->name_len ? s->name_len : s->id_len;

        if (!qb_target_keeps(&plan->target, i))
            continue;
        if (s->disk_size != size)
            return QB_REFUSE(
                "version 2 cannot describe snapshot \"%.*s\": its disk has %s, not %s%s", len, name,
                qb_text_size_exact(s->disk_size, a), qb_text_size_exact(size, b), hint);
        if (s->vm_state_size > UINT32_MAX)
            return QB_REFUSE("version 2 cannot describe snapshot \"%.*s\": its VM state has %s",
                             len, name, qb_text_size_exact(s->vm_state_size, a));
    }
    return 0;
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    if (is_upgrade(plan) && qb_plan_lacks_disk_sizes(plan))
        plan->target.reach = QB_REACH_TABLES;
    if (plan->target.header.version == 2 && qb_target_resizes(plan->in.img, &plan->target))
        return check_snapshots(plan, err);
    return 0;
}

/* Requested explicitly: old readers shall be able to read the image. */
static int confirm(struct qb_io *io, struct qb_image *img, const struct qb_request *rq,
                   struct qb_err *err)
{
    uint64_t limit = rq->memory_limit ? rq->memory_limit : QB_CENSUS_MEMORY;

    if (!qb_asked(rq, QB_KEY_COMPAT) || rq->compat != 2)
        return 0;
    if (qb_image_read_snapshots_in(io, img, limit, err) < 0)
        return -1;
    return qb_version2_check(io, img, limit, err);
}

static int check(struct qb_plan *plan, struct qb_err *err)
{
    if (!is_downgrade(plan))
        return 0;
    return check_snapshots(plan, err);
}

/* Every table with a zero cluster is rewritten. */
static int tables(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_clusters *clusters = &plan->census.clusters;

    if (plan->target.header.version != 2)
        return 0;
    if (is_downgrade(plan) && clusters->zero_plain + clusters->zero_allocated &&
        qb_below_open(plan, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->census.tables.n; i++) {
        const struct qb_table_note *note = &plan->census.notes[i];

        if (!plan->new_tables.gone[i] && note->zero_plain + note->zero_allocated &&
            qb_new_replace(plan, i, err) < 0)
            return -1;
    }
    return 0;
}

/* The first entry of the table from which on zero clusters may be unallocated. */
static uint64_t backed_end(const struct qb_plan *plan, const struct qb_new_table *t)
{
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t first = t->l1_index * g->l1_span, limit = plan->below.size;

    /* VM state past the disk's end that only the active layer has is of no use. */
    if (t->active && t->refs == 1)
        limit = QB_MIN(limit, plan->target.header.size);
    return limit > first ? ((limit - first - 1) >> g->cluster_bits) + 1 : 0;
}

static bool is_deferred(const struct qb_new_table *t, uint64_t i)
{
    return t->deferred[i / 8] >> (i % 8) & 1;
}

static void encode(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    bool zero = e->kind == QB_ZERO_PLAIN || e->kind == QB_ZERO_ALLOCATED;
    uint64_t backed, end = e->first + e->n, at = e->first;

    if (plan->target.header.version != 2 ||
        !(e->fate == QB_FATE_ZERO || (e->fate == QB_FATE_KEEP && zero)))
        return;
    backed = backed_end(plan, t);
    e->fate = QB_FATE_UNALLOCATE;
    if (at >= backed)
        return;
    e->n = QB_MIN(end, backed) - at;
    if (!t->deferred) {
        e->fate = QB_FATE_NEW_ZEROS;
        return;
    }
    end = at + e->n;
    while (at < end && is_deferred(t, at) == is_deferred(t, e->first))
        at++;
    e->n = at - e->first;
    e->fate = is_deferred(t, e->first) ? QB_FATE_UNALLOCATE : QB_FATE_NEW_ZEROS;
}

/* ---- zero_clusters: defer -------------------------------------------------------------------- */

/* Whether the chain proves that the cluster at `guest` reads zero without the image's entry: by its
 * allocation if that is enough, else by its bytes. */
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

/* A cluster that the whole chain reads as zero may become unallocated. */
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

static bool looks(const struct qb_plan *plan)
{
    return plan->target.header.version == 2 && plan->in.rq->zero_clusters == QB_ZERO_DEFER;
}

static int look(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err)
{
    struct deferral d = {v, t};

    return qb_new_walk(v->plan, t, source, defer, &d, err);
}

const struct qb_rule qb_rule_compat = {
    .name = "compat",
    .resolve = resolve,
    .probe = probe,
    .confirm = confirm,
    .check = check,
    .tables = tables,
    .looks = looks,
    .look = look,
    .encode = encode,
};
