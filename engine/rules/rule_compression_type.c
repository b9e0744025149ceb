/* compression_type: a byte of the header, where no layer has a cluster that is compressed in the
 * present way.  Going down to version 2 includes zlib (rule_compat.c). */
#include <string.h>

#include "plan/new_tables.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    struct qb_header *h = &t->header;
    const char *asked = qb_text_of(rq->compression_type);
    bool zstd = strcmp(asked, "zstd") == 0;

    (void)img;
    if (!qb_asked(rq, QB_KEY_COMPRESSION_TYPE))
        return 0;
    if (!zstd && strcmp(asked, "zlib") != 0)
        return QB_REFUSE("compression_type=%.40s must be zlib or zstd", asked);
    if (zstd == (h->compression_type != 0))
        return 0;
    if (zstd && h->version == 2)
        return QB_REFUSE("compression_type=zstd needs compat=1.1");
    h->compression_type = zstd;
    h->incompatible ^= QB_INCOMPAT_COMPRESSION;
    t->exts_change |= zstd && h->header_length <= QB_HEADER_COMPRESSION_TYPE_AT;
    t->reach = QB_MAX(t->reach, QB_REACH_LOOK);
    return 1;
}

static int refuse(const struct qb_plan *plan, const struct qb_census_place *first, uint64_t n,
                  struct qb_err *err)
{
    const struct qb_target *t = &plan->target;
    char where[QB_CENSUS_PLACE_TEXT];

    qb_census_place_text(first, where);
    return qb_fail(err, QB_E_UNSUPPORTED, first->at,
                   "%s does not support %s clusters, and the image has %llu, the first one for %s",
                   t->header.version == 2       ? "compat=0.10"
                   : t->header.compression_type ? "compression_type=zstd"
                                                : "compression_type=zlib",
                   t->header.compression_type ? "zlib" : "zstd", (unsigned long long)n, where);
}

static bool changes(const struct qb_plan *plan)
{
    return plan->target.header.compression_type != plan->in.img->header.compression_type;
}

static int check(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_census *c = &plan->census;

    if (!changes(plan) || c->clusters.compressed == 0 || plan->target.deleted)
        return 0;
    return refuse(plan, &c->first_compressed, c->clusters.compressed, err);
}

/* Where snapshots are deleted, only the tables that are left count.  Of one that is split for a new
 * size, the part that goes counts too. */
static int tables(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = &plan->in.img->geom;
    const struct qb_census *c = &plan->census;
    struct qb_census_place first = {0};
    uint64_t n = 0;

    for (size_t i = 0; changes(plan) && plan->target.deleted && i < c->tables.n; i++) {
        const struct qb_l2_table *t = &c->tables.items[i];
        bool left = !plan->new_tables.gone[i];

        for (size_t k = 0; !left && c->notes[i].compressed && k < plan->new_tables.n_splits; k++)
            left = plan->new_tables.list.items[k].source == i;
        if (!left || c->notes[i].compressed == 0)
            continue;
        if (n == 0)
            first = (struct qb_census_place){t->offset, t->l1_index * g->l1_span, t->active};
        n += c->notes[i].compressed;
    }
    return n ? refuse(plan, &first, n, err) : 0;
}

const struct qb_rule qb_rule_compression_type = {
    .name = "compression_type",
    .resolve = resolve,
    .check = check,
    .tables = tables,
};
