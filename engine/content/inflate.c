#include "content/inflate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/crew.h"
#include "io/io.h"

enum {
    BATCH_BYTES = 4 << 20, /* of clusters */
    BATCH_MAX = 1024,
    FOR_EACH_HAND = 4, /* clusters at least, so that no thread waits long for the last one */
};

/* What a thread needs. */
struct qb_inflate_hand {
    struct qb_codec *codec; /* owned, as is `plain`; NULL before the first use */
    uint8_t *plain;
};

static uint64_t packed_bytes(uint64_t cs)
{
    return 2 * cs + QB_SECTOR;
}

static uint64_t memory_of(const struct qb_inflater *f)
{
    uint64_t cs = f->cluster_size;

    return sizeof(*f) + f->n_hands * (sizeof(*f->hands) + qb_codec_memory(cs) + cs) +
           f->room * (sizeof(*f->batch) + sizeof(*f->reqs) + packed_bytes(cs));
}

/* As many threads as there may be, and clusters for them, as long as they take no more than an
 * eighth of the memory that is left; else what a single cluster needs.  Its memory, bytes. */
static uint64_t choose_hands(struct qb_inflater *f, struct qb_io *io, const struct qb_counts *c)
{
    uint64_t most = UINT64_MAX;

    if (c->memory_limit)
        most = (c->memory_limit - QB_MIN(c->memory, c->memory_limit)) / 8;
    for (f->n_hands = qb_io_hands(io); f->n_hands > 0; f->n_hands--) {
        f->room = QB_MAX(QB_MIN(BATCH_BYTES / f->cluster_size, BATCH_MAX),
                         (uint64_t)f->n_hands * FOR_EACH_HAND);
        if (memory_of(f) <= most)
            return memory_of(f);
    }
    f->n_hands = 1;
    f->room = 1;
    return 0; /* not held: nothing can be done with less */
}

static bool allocate(struct qb_inflater *f)
{
    f->hands = calloc(f->n_hands, sizeof(*f->hands));
    f->batch = calloc(f->room, sizeof(*f->batch));
    f->reqs = calloc(f->room, sizeof(*f->reqs));
    if (!f->hands || !f->batch || !f->reqs)
        return false;
    for (size_t i = 0; i < f->room; i++)
        if (!(f->batch[i].in = malloc(packed_bytes(f->cluster_size))))
            return false;
    return true;
}

struct qb_inflater *qb_inflater_new(struct qb_io *io, const struct qb_image *img,
                                    struct qb_file *file, struct qb_counts *counts,
                                    struct qb_err *err)
{
    struct qb_inflater wanted = {.file = file,
                                 .cluster_size = img->geom.cluster_size,
                                 .type = img->header.compression_type},
                       *f;

    if (qb_counts_hold(counts, choose_hands(&wanted, io, counts), err) < 0)
        return NULL;
    f = malloc(sizeof(*f));
    if (f) {
        *f = wanted;
        if (allocate(f))
            return f;
        qb_inflater_free(f);
    }
    qb_fail_memory(err);
    return NULL;
}

void qb_inflater_free(struct qb_inflater *f)
{
    if (!f)
        return;
    for (unsigned i = 0; f->hands && i < f->n_hands; i++) {
        qb_codec_free(f->hands[i].codec);
        free(f->hands[i].plain);
    }
    for (size_t i = 0; f->batch && i < f->room; i++)
        free(f->batch[i].in);
    free(f->hands);
    free(f->batch);
    free(f->reqs);
    free(f);
}

void qb_inflater_add(struct qb_inflater *f, uint64_t entry, uint64_t available, uint64_t offset,
                     uint64_t tag)
{
    struct qb_inflating *one = &f->batch[f->n++];

    *one = (struct qb_inflating){
        .offset = offset, .available = available, .entry = entry, .tag = tag, .in = one->in};
}

static int read_batch(struct qb_inflater *f, struct qb_io *io, struct qb_err *err)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct qb_inflating *one = &f->batch[i];
        uint64_t size = f->file->size;
        uint64_t have = one->offset < size ? QB_MIN(one->available, size - one->offset) : 0;

        memset(one->in + have, 0, one->available - have);
        f->reqs[i] = (struct qb_req){
            .file = f->file, .op = QB_OP_READ, .offset = one->offset, .len = have, .buf = one->in};
    }
    if (qb_io_run(io, f->reqs, f->n) == 0)
        return 0;
    for (size_t i = 0; i < f->n; i++) {
        f->batch[i].errnum = f->reqs[i].error;
        if (f->reqs[i].error == ECANCELED)
            return qb_io_fail(&f->reqs[i], "guest data", err);
    }
    return 0;
}

/* Decompresses one cluster: a qb_part_fn. */
static void inflate_one(void *arg, unsigned who, size_t i)
{
    const struct qb_inflater *f = arg;
    struct qb_inflate_hand *hand = &f->hands[who];
    struct qb_inflating *one = &f->batch[i];
    struct qb_err why = {.code = QB_E_NONE};
    uint64_t cs = f->cluster_size;

    if (one->errnum)
        return;
    one->failed = QB_E_MEMORY;
    if ((!hand->codec && !(hand->codec = qb_codec_new(f->type))) ||
        (!hand->plain && !(hand->plain = malloc(cs))))
        return;
    if (qb_codec_decompress(hand->codec, one->in, one->available, hand->plain, cs, &why) == 0) {
        one->zero = qb_all_zero(hand->plain, cs);
        one->digest = qb_digest_of(hand->plain, cs);
    }
    one->failed = why.code;
}

int qb_inflater_run(struct qb_inflater *f, struct qb_io *io, struct qb_err *err)
{
    f->next = 0;
    if (qb_io_go_on(io, err) < 0 || read_batch(f, io, err) < 0)
        return -1;
    qb_io_each(io, f->n, f->n_hands, inflate_one, f);
    return 0;
}
