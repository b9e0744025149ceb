/* Reading through a backing chain, and finding where one holds data. */
#include <string.h>

#include "qcow2/chain_parts.h"
#include "qcow2/deflate.h"

int qb_image_lookup(struct qb_io *io, const struct qb_image *img, uint64_t offset, uint64_t *entry,
                    uint64_t *at, struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t l1_index = offset / g->l1_span, l2_index = offset % g->l1_span / g->cluster_size;
    be64 raw;
    uint64_t l1, place;

    *entry = *at = 0;
    if (l1_index >= img->header.l1_size || qb_image_l1_is_past_end(img, img->header.l1_offset))
        return 0;
    if (qb_io_read(io, img->file, img->header.l1_offset + 8 * l1_index, &raw, 8, "an L1 entry",
                   err) < 0)
        return -1;
    l1 = be64_get(raw) & QB_ENTRY_OFFSET;
    if (l1 == 0)
        return 0;
    if (l1 % g->cluster_size || !qb_range_ok(l1, g->cluster_size, 1, img->file->size))
        return qb_fail(err, QB_E_CORRUPT, img->header.l1_offset + 8 * l1_index,
                       "L1 entry %llu points to no L2 table", (unsigned long long)l1_index);
    place = l1 + l2_index * g->l2_entry_size;
    if (qb_io_read(io, img->file, place, &raw, 8, "an L2 entry", err) < 0)
        return -1;
    *at = place;
    *entry = be64_get(raw);
    return 0;
}

static int read_compressed(struct qb_io *io, const struct qb_image *img, uint64_t entry, void *buf,
                           struct qb_err *err)
{
    struct qb_compressed z = qb_l2_compressed(&img->geom, entry);
    QB_AUTO(qb_buf) void *in = NULL;

    if (img->header.compression_type != 0)
        return qb_fail(err, QB_E_UNSUPPORTED, z.offset, "this needs to read a zstd cluster");
    if (z.offset >= img->file->size)
        return qb_fail(err, QB_E_CORRUPT, z.offset,
                       "a compressed cluster lies behind the end of the file");
    z.available = QB_MIN(z.available, img->file->size - z.offset);
    in = malloc(z.available);
    if (!in)
        return qb_fail_memory(err);
    if (qb_io_read(io, img->file, z.offset, in, z.available, "a compressed cluster", err) < 0)
        return -1;
    return qb_inflate(in, z.available, buf, img->geom.cluster_size, err);
}

/* Whether this build can read the cluster that the entry names. */
static int check_cluster(const struct qb_image *img, uint64_t entry, struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t offset = entry & QB_ENTRY_OFFSET;

    if (img->header.crypt_method || g->external_data || g->l2_entry_size != 8)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "this needs to read guest data of an image with %s",
                       img->header.crypt_method ? "encryption"
                       : g->external_data       ? "an external data file"
                                                : "extended L2 entries");
    if (!(entry & QB_ENTRY_COMPRESSED) && (offset % g->cluster_size || offset >= img->file->size))
        return qb_fail(err, QB_E_CORRUPT, offset, "a data cluster is misplaced");
    return 0;
}

int qb_image_read_cluster(struct qb_io *io, const struct qb_image *img, uint64_t entry, void *buf,
                          struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t offset = entry & QB_ENTRY_OFFSET, have;

    if (check_cluster(img, entry, err) < 0)
        return -1;
    if (entry & QB_ENTRY_COMPRESSED)
        return read_compressed(io, img, entry, buf, err);
    have = QB_MIN(g->cluster_size, img->file->size - offset);
    memset((uint8_t *)buf + have, 0, g->cluster_size - have);
    return qb_io_read(io, img->file, offset, buf, have, "a data cluster", err);
}

/* Deflate makes at most 1,032 bytes of one, and a cluster of 2 MiB may hold one page.  The same
 * factor allows for as many snapshots that look at all of the chain. */
#define READ_PER_ALLOCATED 1100u
#define READ_AT_LEAST      (256ull << 20)

static int charge(struct qb_chain *chain, const struct qb_link *l, uint64_t len, struct qb_err *err)
{
    chain->read += len;
    if (chain->read / READ_PER_ALLOCATED <= chain->allocated || chain->read <= READ_AT_LEAST)
        return 0;
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                   "this needs to read far more from %s and its backing files than they hold",
                   l->file.path);
}

/* What images of fewer bits may cover is up to 2 MiB: a compressed cluster is inflated once,
 * however small the pieces are in which it is read. */
static int read_inflated(struct qb_io *io, struct qb_chain *chain, struct qb_link *l,
                         uint64_t entry, const uint8_t **out, struct qb_err *err)
{
    const struct qb_geom *g = &l->img.geom;
    struct qb_inflated *z = &chain->inflated[g->cluster_bits - QB_CLUSTER_BITS_LEAST];

    *out = z->bytes;
    if (z->link == l && z->entry == entry)
        return 0;
    z->link = NULL;
    if (!z->bytes)
        z->bytes = malloc(g->cluster_size);
    if (!z->bytes)
        return qb_fail_memory(err);
    if (charge(chain, l, g->cluster_size, err) < 0 ||
        qb_image_read_cluster(io, &l->img, entry, z->bytes, err) < 0)
        return -1;
    z->link = l;
    z->entry = entry;
    *out = z->bytes;
    return 0;
}

/* Bytes of one cluster that is not compressed, and of no more than that. */
static int read_plain(struct qb_io *io, struct qb_link *l, uint64_t entry, uint64_t within,
                      uint64_t len, uint8_t *buf, struct qb_err *err)
{
    uint64_t at = (entry & QB_ENTRY_OFFSET) + within, size = l->file.size;
    uint64_t have = at < size ? QB_MIN(len, size - at) : 0;

    if (check_cluster(&l->img, entry, err) < 0)
        return -1;
    memset(buf + have, 0, len - have);
    return have ? qb_io_read(io, &l->file, at, buf, have, "a data cluster", err) : 0;
}

static int read_data(struct qb_io *io, struct qb_chain *chain, struct qb_link *l, uint64_t entry,
                     uint64_t offset, uint64_t len, uint8_t *buf, struct qb_err *err)
{
    uint64_t within = offset % l->img.geom.cluster_size;
    const uint8_t *cluster;

    if (charge(chain, l, len, err) < 0)
        return -1;
    if (!(entry & QB_ENTRY_COMPRESSED))
        return read_plain(io, l, entry, within, len, buf, err);
    if (read_inflated(io, chain, l, entry, &cluster, err) < 0)
        return -1;
    memcpy(buf, cluster + within, len);
    return 0;
}

static int read_raw(struct qb_io *io, struct qb_link *l, uint64_t offset, uint64_t len,
                    uint8_t *buf, struct qb_err *err)
{
    uint64_t have = offset < l->file.size ? QB_MIN(len, l->file.size - offset) : 0;

    memset(buf + have, 0, len - have);
    if (have == 0)
        return 0;
    if (qb_file_is_hole(&l->file, offset, have)) {
        memset(buf, 0, have);
        return 0;
    }
    return qb_io_read(io, &l->file, offset, buf, have, "the backing file", err);
}

static int read_from(struct qb_io *io, struct qb_chain *chain, size_t depth, uint64_t offset,
                     uint64_t len, uint8_t *buf, struct qb_err *err);

/* What the qcow2 link shows at `offset`, for at most len bytes; *done of them are read. */
static int read_piece(struct qb_io *io, struct qb_chain *chain, size_t depth, uint64_t offset,
                      uint64_t len, uint8_t *buf, uint64_t *done, struct qb_err *err)
{
    struct qb_link *l = chain->links[depth];
    uint64_t cs = l->img.geom.cluster_size;
    struct qb_map_run run;

    if (qb_map_run(io, &l->map, offset, offset + len, &run, err) < 0)
        return -1;
    *done = run.end - offset;
    if (run.shows == QB_SHOWS_BELOW)
        return read_from(io, chain, depth + 1, offset, *done, buf, err);
    if (run.shows == QB_SHOWS_ZERO) {
        memset(buf, 0, *done);
        return 0;
    }
    if (l->img.geom.l2_entry_size != 8)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "this needs to read extended L2 entries");
    *done = QB_MIN(*done, cs - offset % cs);
    return read_data(io, chain, l, run.entry, offset, *done, buf, err);
}

static int read_from(struct qb_io *io, struct qb_chain *chain, size_t depth, uint64_t offset,
                     uint64_t len, uint8_t *buf, struct qb_err *err)
{
    struct qb_link *l = depth < chain->n ? chain->links[depth] : NULL;
    uint64_t have = l && offset < l->size ? QB_MIN(len, l->size - offset) : 0, done;

    memset(buf + have, 0, len - have);
    if (have && !l->is_qcow2)
        return read_raw(io, l, offset, have, buf, err);
    for (; have; have -= done) {
        if (read_piece(io, chain, depth, offset, have, buf, &done, err) < 0)
            return -1;
        offset += done;
        buf += done;
    }
    return 0;
}

int qb_chain_read(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t len,
                  void *buf, struct qb_err *err)
{
    return read_from(io, chain, 0, offset, len, buf, err);
}

/* ---- by what is allocated -------------------------------------------------------------------- */

static int next_from(struct qb_io *io, struct qb_chain *chain, size_t depth, uint64_t offset,
                     uint64_t end, struct qb_range *out, struct qb_err *err);

static void next_in_raw(struct qb_link *l, uint64_t offset, uint64_t end, struct qb_range *out)
{
    uint64_t first;

    end = QB_MIN(end, l->file.size);
    first = offset < end ? qb_file_next_data(&l->file, offset) : end;
    if (first < end)
        *out = (struct qb_range){first, QB_MIN(qb_file_data_end(&l->file, first), end)};
}

static int next_in_qcow2(struct qb_io *io, struct qb_chain *chain, size_t depth, uint64_t offset,
                         uint64_t end, struct qb_range *out, struct qb_err *err)
{
    struct qb_map_run run;

    for (; offset < end && out->first == out->end; offset = run.end) {
        if (qb_io_go_on(io, err) < 0 ||
            qb_map_run(io, &chain->links[depth]->map, offset, end, &run, err) < 0)
            return -1;
        if (run.shows == QB_SHOWS_DATA)
            *out = (struct qb_range){offset, run.end};
        else if (run.shows == QB_SHOWS_BELOW &&
                 next_from(io, chain, depth + 1, offset, run.end, out, err) < 0)
            return -1;
    }
    return 0;
}

static int next_from(struct qb_io *io, struct qb_chain *chain, size_t depth, uint64_t offset,
                     uint64_t end, struct qb_range *out, struct qb_err *err)
{
    struct qb_link *l = depth < chain->n ? chain->links[depth] : NULL;

    if (!l || offset >= l->size)
        return 0;
    if (l->is_qcow2)
        return next_in_qcow2(io, chain, depth, offset, QB_MIN(end, l->size), out, err);
    next_in_raw(l, offset, end, out);
    return 0;
}

int qb_chain_next_data(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t end,
                       struct qb_range *out, struct qb_err *err)
{
    *out = (struct qb_range){0};
    if (next_from(io, chain, 0, offset, end, out, err) < 0)
        return -1;
    if (out->first == out->end)
        *out = (struct qb_range){end, end};
    return 0;
}
