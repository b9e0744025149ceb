/* Compares two backing chains where an image does not cover them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "chain/chain.h"
#include "image/map.h"

#define PIECE_BYTES ((uint64_t)2 << 20)

struct comparing {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_chain *a, *b;
    uint8_t *from_a, *from_b; /* PIECE_BYTES each */
    struct qb_map map;        /* of img */
};

/* The same files in the same order read the same. */
static bool are_one(const struct qb_chain *a, const struct qb_chain *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        const struct qb_file *x = qb_chain_file(a, i), *y = qb_chain_file(b, i);

        if (x->dev != y->dev || x->ino != y->ino ||
            qb_chain_is_qcow2(a, i) != qb_chain_is_qcow2(b, i))
            return false;
    }
    return a->n == b->n;
}

static int compare_piece(const struct comparing *c, uint64_t offset, uint64_t len,
                         struct qb_err *err)
{
    uint64_t at = 0;

    if (qb_chain_read(c->io, c->a, offset, len, c->from_a, err) < 0 ||
        qb_chain_read(c->io, c->b, offset, len, c->from_b, err) < 0)
        return -1;
    if (memcmp(c->from_a, c->from_b, len) == 0)
        return 0;
    while (c->from_a[at] == c->from_b[at])
        at++;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "the new backing file reads otherwise than the old one, first at guest byte "
                   "%" PRIu64,
                   offset + at);
}

static int compare_bytes(const struct comparing *c, uint64_t first, uint64_t end,
                         struct qb_err *err)
{
    for (uint64_t n; first < end; first += n) {
        n = QB_MIN(PIECE_BYTES, end - first);
        if (compare_piece(c, first, n, err) < 0)
            return -1;
    }
    return 0;
}

/* The subclusters of one cluster that show what is below. */
static int compare_subclusters(const struct comparing *c, uint64_t bitmap, uint64_t first,
                               uint64_t end, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size, size = cs / QB_SUBCLUSTERS;

    for (uint64_t n; first < end; first += n) {
        unsigned sub = (unsigned)(first % cs / size);
        bool covers = (bitmap >> sub | bitmap >> (QB_SUBCLUSTERS + sub)) & 1;

        n = QB_MIN(size - first % size, end - first);
        if (!covers && compare_bytes(c, first, first + n, err) < 0)
            return -1;
    }
    return 0;
}

static int compare_run(const struct comparing *c, uint64_t first, struct qb_map_run *run,
                       struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size;

    if (run->shows == QB_SHOWS_BELOW)
        return compare_bytes(c, first, run->end, err);
    if (c->img->geom.l2_entry_size != 16 || run->shows != QB_SHOWS_DATA ||
        (run->entry & QB_ENTRY_COMPRESSED))
        return 0;
    run->end = QB_MIN(run->end, first - first % cs + cs); /* the entry is that of the first one */
    return compare_subclusters(c, run->bitmap, first, run->end, err);
}

/* Skips what the image covers; but a snapshot may show what the active layer covers. */
static int compare_uncovered(struct comparing *c, uint64_t first, uint64_t end, struct qb_err *err)
{
    struct qb_map_run run = {.end = end};

    for (; first < end; first = run.end) {
        if (!c->img->header.nb_snapshots && qb_map_run(c->io, &c->map, first, end, &run, err) < 0)
            return -1;
        if (compare_run(c, first, &run, err) < 0)
            return -1;
    }
    return 0;
}

/* Both read zero where neither has anything allocated: only the rest is compared. */
static int compare(struct comparing *c, uint64_t end, struct qb_err *err)
{
    struct qb_range a = {0}, b = {0}, r;

    for (uint64_t offset = 0; offset < end; offset = r.end) {
        if (qb_io_go_on(c->io, err) < 0 ||
            (a.end <= offset && qb_chain_next_data(c->io, c->a, offset, end, &a, err) < 0) ||
            (b.end <= offset && qb_chain_next_data(c->io, c->b, offset, end, &b, err) < 0))
            return -1;
        r = a.first < b.first ? a : b;
        r.first = QB_MAX(r.first, offset);
        if (compare_uncovered(c, r.first, r.end, err) < 0)
            return -1;
    }
    return 0;
}

/* The end of what a guest can read: the disk's size, or a snapshot's. */
static uint64_t end_of(const struct qb_image *img)
{
    uint64_t end = img->header.size;

    for (size_t i = 0; i < img->snapshots.list.n; i++)
        end = QB_MAX(end, img->snapshots.list.items[i].disk_size);
    return end;
}

int qb_chain_same(struct qb_io *io, const struct qb_image *img, struct qb_chain *a,
                  struct qb_chain *b, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *from_a = malloc(PIECE_BYTES), *from_b = malloc(PIECE_BYTES);
    struct comparing c = {io, img, a, b, from_a, from_b, .map = {0}};

    if (are_one(a, b))
        return 0;
    if (!from_a || !from_b)
        return qb_fail_memory(err);
    qb_map_init(&c.map, img);
    return compare(&c, end_of(img), err);
}
