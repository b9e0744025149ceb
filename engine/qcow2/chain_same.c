/* Whether two backing chains read the same below an image. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "qcow2/chain.h"
#include "qcow2/l2.h"

#define PIECE_BYTES ((uint64_t)2 << 20)

struct comparing {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_chain *a, *b;
    uint8_t *from_a, *from_b; /* PIECE_BYTES each */
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

/* A snapshot may show what the active layer covers. */
static int is_covered(const struct comparing *c, uint64_t offset, bool *covered, struct qb_err *err)
{
    uint64_t entry, at;

    *covered = false;
    if (c->img->header.nb_snapshots)
        return 0;
    if (qb_image_lookup(c->io, c->img, offset, &entry, &at, err) < 0)
        return -1;
    *covered = qb_l2_kind(&c->img->geom, entry) != QB_UNALLOCATED;
    return 0;
}

static int compare_piece(const struct comparing *c, uint64_t offset, uint64_t len,
                         struct qb_err *err)
{
    uint64_t at = 0;

    if (len == 0)
        return 0;
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

static int compare(const struct comparing *c, uint64_t end, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size, first = 0, offset = 0;

    for (; offset < end; offset = QB_MIN(offset + cs, end)) {
        bool covered;

        if (is_covered(c, offset, &covered, err) < 0)
            return -1;
        if (!covered && offset + cs - first <= PIECE_BYTES)
            continue;
        if (compare_piece(c, first, offset - first, err) < 0)
            return -1;
        first = covered ? QB_MIN(offset + cs, end) : offset;
    }
    return compare_piece(c, first, end - first, err);
}

/* How far anybody can read: the disk, or that of a snapshot. */
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
    const struct comparing c = {io, img, a, b, from_a, from_b};

    if (are_one(a, b))
        return 0;
    if (!from_a || !from_b)
        return qb_fail_memory(err);
    if (img->geom.l2_entry_size != 8)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "check_content does not know extended L2 entries");
    return compare(&c, end_of(img), err);
}
