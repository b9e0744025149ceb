#include "image/preallocated.h"

#include <stdlib.h>

#include "qcow2/refcount.h"

/* Blocks that many entries of the refcount table name are read as often, but not without end. */
#define READ_PER_ALLOCATED 64u
#define READ_AT_LEAST      (64ull << 20)

struct counting {
    struct qb_io *io;
    const struct qb_image *img;
    uint64_t clusters;  /* of the file */
    uint64_t threshold; /* it is preallocated from so many on */
    uint64_t count;     /* clusters with a refcount */
    uint64_t may_read;  /* bytes */
    uint8_t *block;     /* one cluster */
};

/* The refcounts of the block at `offset`, whose first is that of cluster `first`; 1: the block is
 * damaged. */
static int count_block(struct counting *c, uint64_t offset, uint64_t first, struct qb_err *err)
{
    const struct qb_geom *g = &c->img->geom;
    uint64_t n = QB_MIN(g->block_entries, c->clusters - first);

    if (offset % g->cluster_size || !qb_range_ok(offset, g->cluster_size, 1, c->img->file->size))
        return 1;
    if (qb_file_is_hole(c->img->file, offset, g->cluster_size))
        return 0;
    if (c->may_read < g->cluster_size)
        return 1;
    c->may_read -= g->cluster_size;
    if (qb_io_read(c->io, c->img->file, offset, c->block, g->cluster_size, "a refcount block",
                   err) < 0)
        return -1;
    for (uint64_t i = 0; i < n && c->count < c->threshold; i++)
        c->count += qb_refcount_get(c->block, i, g->refcount_order) != 0;
    return 0;
}

static int count_all(struct counting *c, const uint64_t *table, size_t n, struct qb_err *err)
{
    uint64_t entries = c->img->geom.block_entries;
    int r = 0;

    for (size_t i = 0; i < n && i < qb_div_up(c->clusters, entries); i++) {
        if (r || c->count >= c->threshold)
            break;
        if (qb_io_go_on(c->io, err) < 0)
            return -1;
        if (table[i] & QB_REFTABLE_OFFSET)
            r = count_block(c, table[i] & QB_REFTABLE_OFFSET, i * entries, err);
    }
    return r;
}

int qb_is_preallocated(struct qb_io *io, const struct qb_image *img, bool *is, struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t occupied = qb_file_allocated(img->file), held = occupied / g->cluster_size;
    struct counting c = {.io = io,
                         .img = img,
                         .clusters = qb_geom_clusters(g, img->file->size),
                         .threshold = QB_MAX(held * 10 / 9, held + 2),
                         .may_read = occupied * READ_PER_ALLOCATED + READ_AT_LEAST};
    QB_AUTO(qb_buf) uint64_t *table = NULL;
    QB_AUTO(qb_buf) uint8_t *block = NULL;
    size_t n;
    int r;

    *is = false;
    if (c.threshold > c.clusters)
        return 0;
    c.block = block = malloc(g->cluster_size);
    if (!block)
        return qb_fail_memory(err);
    if (qb_image_read_reftable(io, img, &table, &n, err) < 0)
        return -1;
    r = count_all(&c, table, n, err);
    *is = r == 0 && c.count >= c.threshold;
    return r < 0 ? -1 : 0;
}
