/* compression_type: a byte of the header.  Clusters that are compressed in the present way, in any
 * layer, are compressed anew (recode.h).  Going down to version 2 includes zlib (rule_compat.c). */
#include <string.h>

#include "plan/new_tables.h"
#include "plan/recode.h"

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

/* What cannot be read. */
static int refuse(const struct qb_plan *plan, const struct qb_census_place *first, uint64_t n,
                  struct qb_err *err)
{
    const struct qb_target *t = &plan->target;
    char where[QB_CENSUS_PLACE_TEXT];

    qb_census_place_text(first, where);
    return qb_fail(
        err, QB_E_UNSUPPORTED, first->at,
        "%s with encryption does not recompress %s clusters, and the image has %llu, the "
        "first one for %s",
        t->header.version == 2       ? "compat=0.10"
        : t->header.compression_type ? "compression_type=zstd"
                                     : "compression_type=zlib",
        t->header.compression_type ? "zlib" : "zstd", (unsigned long long)n, where);
}

static bool changes(const struct qb_plan *plan)
{
    return plan->target.header.compression_type != plan->in.img->header.compression_type;
}

static bool recodes(const struct qb_plan *plan)
{
    return changes(plan) && plan->census.clusters.compressed;
}

/* Where something is compressed, tables are rewritten. */
static int check(struct qb_plan *plan, struct qb_err *err)
{
    (void)err;
    if (recodes(plan))
        plan->target.reach = QB_REACH_TABLES;
    return 0;
}

/* Of a table that is split for a new size, the part that goes counts too. */
static bool is_left(const struct qb_plan *plan, size_t table)
{
    bool left = !plan->new_tables.gone[table];

    for (size_t k = 0; !left && k < plan->new_tables.n_splits; k++)
        left = plan->new_tables.list.items[k].source == table;
    return left;
}

/* Every table with a compressed cluster is rewritten. */
static int tables(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_census *c = &plan->census;
    bool encrypted = plan->in.img->header.crypt_method != 0;
    struct qb_census_place first = {0};
    uint64_t n = 0;

    for (size_t i = 0; recodes(plan) && i < c->tables.n; i++) {
        const struct qb_l2_table *t = &c->tables.items[i];

        if (c->notes[i].compressed == 0 || !is_left(plan, i))
            continue;
        if (n == 0)
            first = (struct qb_census_place){t->offset, t->l1_index * plan->in.img->geom.l1_span,
                                             t->active};
        n += c->notes[i].compressed;
        if (!encrypted && !plan->new_tables.gone[i] && !plan->new_tables.of[i] &&
            qb_new_replace(plan, i, err) < 0)
            return -1;
    }
    return n && encrypted
               ? refuse(plan, n == c->clusters.compressed ? &c->first_compressed : &first, n, err)
               : 0;
}

/* ---- lengths --------------------------------------------------------------------------------- */

struct measuring {
    struct qb_visit *v;
    struct qb_new_table *t;
    const uint8_t *source;
    struct qb_recoder *recoder;
};

static bool looks(const struct qb_plan *plan)
{
    return recodes(plan);
}

/* Notes the lengths of the clusters that were added. */
static int note_lengths(const struct measuring *m, struct qb_err *err)
{
    struct qb_plan *plan = m->v->plan;
    struct qb_recoder *r = m->recoder;

    if (r->n && qb_recode_run(r, m->v->io, plan, err) < 0)
        return -1;
    for (size_t i = 0; i < r->n; i++)
        if (qb_counts_push(&plan->census.counts, &m->t->repacked, err, r->batch[i].len) < 0)
            return -1;
    r->n = 0;
    return 0;
}

/* Compresses what becomes compressed anew, to know how long it will be. */
static int measure(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    const struct measuring *m = arg;
    const struct qb_plan *plan = m->v->plan;
    const struct qb_geom *g = &plan->in.img->geom;

    for (uint64_t i = e->first; e->fate == QB_FATE_REPACK && i < e->first + e->n; i++) {
        uint64_t guest = m->t->l1_index * g->l1_span + i * g->cluster_size;

        if ((m->recoder->n == m->recoder->room && note_lengths(m, err) < 0) ||
            qb_recode_add(m->recoder, m->v->io, plan, qb_l2_get(g, m->source, i, 0), guest, err) <
                0)
            return -1;
    }
    return 0;
}

static int look(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    struct measuring m = {v, t, source, qb_recoder_of(plan, err)};

    if (!m.recoder)
        return -1;
    if (qb_new_walk(plan, t, source, measure, &m, err) < 0)
        return -1;
    return note_lengths(&m, err);
}

static void encode(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    (void)t;
    if (changes(plan) && e->kind == QB_COMPRESSED && e->fate == QB_FATE_KEEP)
        e->fate = QB_FATE_REPACK;
}

const struct qb_rule qb_rule_compression_type = {
    .name = "compression_type",
    .resolve = resolve,
    .check = check,
    .tables = tables,
    .looks = looks,
    .look = look,
    .encode = encode,
};
