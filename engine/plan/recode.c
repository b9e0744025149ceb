#include "plan/recode.h"

#include <inttypes.h>

#include "io/crew.h"
#include "plan/layout.h"

enum {
    BATCH_BYTES = 4 << 20, /* of clusters, where there are other threads */
    BATCH_MAX = 1024,
    FOR_EACH_HAND = 4, /* clusters at least, so that no thread waits long for the last one */
};

void qb_recoder_free(struct qb_recoder *r)
{
    if (!r)
        return;
    for (unsigned i = 0; r->hands && i < r->n_hands; i++) {
        qb_codec_free(r->hands[i].from);
        qb_codec_free(r->hands[i].to);
    }
    for (size_t i = 0; r->batch && i < r->room; i++)
        free(r->batch[i].in);
    qb_ahead_free(&r->ahead);
    free(r->hands);
    free(r->batch);
    free(r);
}

/* Of a cluster of the batch. */
static uint64_t buffers_of(uint64_t cs)
{
    return 4 * cs + QB_SECTOR;
}

static uint64_t memory_of(const struct qb_recoder *r, uint64_t cs)
{
    return sizeof(*r) + QB_AHEAD_BYTES +
           r->n_hands * (sizeof(*r->hands) + 2 * qb_codec_memory(cs)) +
           r->room * (sizeof(*r->batch) + buffers_of(cs));
}

/* As many threads as there may be, and clusters for them, as long as they take no more than a
 * quarter of the memory that is left: planning is not over. */
static struct qb_recoder choose_hands(const struct qb_plan *plan)
{
    const struct qb_counts *c = &plan->census.counts;
    uint64_t cs = plan->geom.cluster_size, most = UINT64_MAX;
    struct qb_recoder r = {.n_hands = qb_io_hands(plan->in.io)};

    if (c->memory_limit)
        most = (c->memory_limit - QB_MIN(c->memory, c->memory_limit)) / 4;
    for (; r.n_hands > 1; r.n_hands--) {
        r.room = QB_MAX(QB_MIN(BATCH_BYTES / cs, BATCH_MAX), r.n_hands * FOR_EACH_HAND);
        if (memory_of(&r, cs) <= most)
            return r;
    }
    r.room = 1;
    return r;
}

static bool make_batch(struct qb_recoder *r, uint64_t cs)
{
    r->hands = calloc(r->n_hands, sizeof(*r->hands));
    r->batch = calloc(r->room, sizeof(*r->batch));
    for (size_t i = 0; r->hands && r->batch && i < r->room; i++) {
        struct qb_recoded *one = &r->batch[i];

        if (!(one->in = malloc(buffers_of(cs))))
            return false;
        one->plain = one->in + 2 * cs + QB_SECTOR;
        one->out = one->plain + cs;
    }
    return r->hands && r->batch;
}

struct qb_recoder *qb_recoder_of(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t cs = plan->geom.cluster_size;
    struct qb_recoder wanted;

    if (plan->recoder)
        return plan->recoder;
    wanted = choose_hands(plan);
    if (qb_counts_hold(&plan->census.counts, memory_of(&wanted, cs), err) < 0)
        return NULL;
    plan->recoder = malloc(sizeof(wanted));
    if (plan->recoder) {
        *plan->recoder = wanted;
        if (make_batch(plan->recoder, cs))
            return plan->recoder;
    }
    qb_fail_memory(err);
    return NULL;
}

/* ---- a batch --------------------------------------------------------------------------------- */

struct computing {
    struct qb_recoder *r;
    const struct qb_plan *plan;
};

static struct qb_codec *ready(struct qb_codec **c, uint8_t type)
{
    if (!*c)
        *c = qb_codec_new(type);
    return *c;
}

/* Recompresses one cluster: a qb_part_fn. */
static void recode_one(void *arg, unsigned who, size_t i)
{
    const struct computing *c = arg;
    const struct qb_plan *plan = c->plan;
    struct qb_recode_hand *hand = &c->r->hands[who];
    struct qb_recoded *one = &c->r->batch[i];
    uint64_t cs = plan->geom.cluster_size;
    struct qb_err why = {.code = QB_E_NONE};
    size_t n = 0;

    one->failed = QB_E_MEMORY;
    if (!ready(&hand->from, plan->in.img->header.compression_type) ||
        !ready(&hand->to, plan->target.header.compression_type))
        return;
    if (qb_codec_decompress(hand->from, one->in, one->available, one->plain, cs, &why) == 0) {
        if (!one->place.plain)
            n = qb_codec_compress(hand->to, one->plain, cs, one->out, cs - 1);
        one->len = n ? (uint32_t)n : (uint32_t)cs;
    }
    one->failed = why.code;
}

int qb_recode_run(struct qb_recoder *r, struct qb_io *io, const struct qb_plan *plan,
                  struct qb_err *err)
{
    struct computing c = {r, plan};
    const struct qb_recoded *one = r->batch, *end = r->batch + r->n;

    if (qb_io_go_on(io, err) < 0)
        return -1;
    qb_io_each(io, r->n, r->n_hands, recode_one, &c);
    while (one < end && one->failed == QB_E_NONE)
        one++;
    if (one == end)
        return 0;
    if (one->failed == QB_E_MEMORY)
        return qb_fail_memory(err);
    return qb_fail(err, QB_E_CORRUPT, one->at,
                   "the compressed cluster of guest byte %" PRIu64 " does not decompress",
                   one->guest);
}

/* One that cannot be read is reported after those before it, whose failure comes first. */
int qb_recode_add(struct qb_recoder *r, struct qb_io *io, const struct qb_plan *plan,
                  uint64_t entry, uint64_t guest, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_compressed z = qb_l2_compressed(&img->geom, entry);
    struct qb_recoded *one = &r->batch[r->n];
    struct qb_err why = {.code = QB_E_NONE};

    *one = (struct qb_recoded){
        .in = one->in, .plain = one->plain, .out = one->out, .at = z.offset, .guest = guest};
    if (z.offset >= img->file->size)
        qb_fail(&why, QB_E_CORRUPT, z.offset,
                "a compressed cluster lies behind the end of the file");
    else
        one->available = QB_MIN(z.available, img->file->size - z.offset);
    if (one->available && qb_io_go_on(io, &why) == 0 &&
        qb_ahead_read(&r->ahead, io, img->file, z.offset, one->available, one->in,
                      "a compressed cluster", &why) == 0) {
        r->n++;
        return 0;
    }
    if (r->n == 0 || qb_recode_run(r, io, plan, err) == 0)
        *err = why;
    return -1;
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
