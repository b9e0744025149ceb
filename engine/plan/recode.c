#include "plan/recode.h"

#include <inttypes.h>

#include "plan/layout.h"

static uint64_t memory_of(const struct qb_geom *g)
{
    return 2 * QB_CODEC_MEMORY + QB_AHEAD_BYTES + 4 * g->cluster_size + QB_SECTOR;
}

void qb_recoder_free(struct qb_recoder *r)
{
    if (!r)
        return;
    qb_codec_free(r->from);
    qb_codec_free(r->to);
    qb_ahead_free(&r->ahead);
    free(r->in);
    free(r->plain);
    free(r->out);
    free(r);
}

struct qb_recoder *qb_recoder_of(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t cs = plan->geom.cluster_size;
    struct qb_recoder *r = plan->recoder;

    if (r)
        return r;
    if (qb_counts_hold(&plan->census.counts, memory_of(&plan->geom), err) < 0)
        return NULL;
    r = plan->recoder = calloc(1, sizeof(*r));
    if (r) {
        r->from = qb_codec_new(plan->in.img->header.compression_type);
        r->to = qb_codec_new(plan->target.header.compression_type);
        r->in = malloc(2 * cs + QB_SECTOR);
        r->plain = malloc(cs);
        r->out = malloc(cs);
    }
    if (r && r->from && r->to && r->in && r->plain && r->out)
        return r;
    qb_fail_memory(err);
    return NULL;
}

int qb_recode_read(struct qb_recoder *r, struct qb_io *io, const struct qb_plan *plan,
                   uint64_t entry, uint64_t guest, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_compressed z = qb_l2_compressed(&img->geom, entry);
    struct qb_err why = {.code = QB_E_NONE};

    if (z.offset >= img->file->size)
        return qb_fail(err, QB_E_CORRUPT, z.offset,
                       "a compressed cluster lies behind the end of the file");
    z.available = QB_MIN(z.available, img->file->size - z.offset);
    if (qb_io_go_on(io, err) < 0 || qb_ahead_read(&r->ahead, io, img->file, z.offset, z.available,
                                                  r->in, "a compressed cluster", err) < 0)
        return -1;
    if (qb_codec_decompress(r->from, r->in, z.available, r->plain, img->geom.cluster_size, &why) ==
        0)
        return 0;
    if (why.code == QB_E_MEMORY)
        return qb_fail_memory(err);
    return qb_fail(err, QB_E_CORRUPT, z.offset,
                   "the compressed cluster of guest byte %" PRIu64 " does not decompress", guest);
}

uint32_t qb_recode_pack(struct qb_recoder *r, const struct qb_plan *plan)
{
    uint64_t cs = plan->geom.cluster_size;
    size_t n = qb_codec_compress(r->to, r->plain, cs, r->out, cs - 1);

    return n ? (uint32_t)n : (uint32_t)cs;
}

/* ---- where they go --------------------------------------------------------------------------- */

struct qb_packing qb_packing_begin(const struct qb_plan *plan, const struct qb_new_table *t)
{
    uint64_t cs = plan->geom.cluster_size, most;
    struct qb_packing p = {.plan = plan, .t = t};

    qb_vec_each (len, &t->repacked)
        p.next += *len == cs ? cs : 0;
    most = qb_refcount_max(plan->target.header.refcount_order) / QB_MAX(t->refs, 1);
    p.most = QB_MAX(most, 1);
    return p;
}

/* The cluster, counted from the stretch's beginning on, in which the last sector lies. */
static uint64_t last_cluster(uint64_t at, uint64_t len, uint64_t cs)
{
    return (at + len - 1) / cs;
}

struct qb_packed qb_packing_next(struct qb_packing *p)
{
    uint64_t cs = p->plan->geom.cluster_size, len = p->t->repacked.items[p->i++], last;
    struct qb_packed one = {.len = (uint32_t)len, .plain = len == cs};

    if (one.plain) {
        one.at = p->t->packed_at + p->plain;
        p->plain += cs;
        return one;
    }
    if (p->next % cs == 0 || p->n == p->most) {
        p->next = qb_round_up(p->next, cs);
        p->n = 0;
    }
    last = last_cluster(p->next, len, cs);
    p->n = last == p->next / cs ? p->n + 1 : 1;
    one.at = p->t->packed_at + p->next;
    p->next += len;
    return one;
}

uint64_t qb_packing_len(const struct qb_plan *plan, const struct qb_new_table *t)
{
    struct qb_packing p = qb_packing_begin(plan, t);

    while (p.i < t->repacked.n)
        qb_packing_next(&p);
    return qb_round_up(p.next, plan->geom.cluster_size);
}

int qb_packing_count(struct qb_layout *l, const struct qb_new_table *t, struct qb_err *err)
{
    uint64_t cs = l->plan->geom.cluster_size, at = t->packed_at / cs, n = 0;
    struct qb_packing p = qb_packing_begin(l->plan, t);

    if (p.next && qb_layout_count(l, at, p.next / cs, t->refs, err) < 0)
        return -1;
    at += p.next / cs;
    while (p.i < t->repacked.n) {
        struct qb_packed one = qb_packing_next(&p);
        uint64_t first = one.at / cs, last = last_cluster(one.at, one.len, cs);

        if (one.plain)
            continue;
        if (first != at && qb_layout_count(l, at, 1, n * t->refs, err) < 0)
            return -1;
        n = first != at ? 1 : n + 1;
        at = first;
        if (last == first)
            continue;
        if (qb_layout_count(l, at, 1, n * t->refs, err) < 0)
            return -1;
        at = last;
        n = 1;
    }
    return n ? qb_layout_count(l, at, 1, n * t->refs, err) : 0;
}
