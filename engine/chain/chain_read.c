/* Reads through a backing chain, and finds where it holds data. */
#include <string.h>

#include "chain/chain_parts.h"
#include "qcow2/codec.h"

int qb_image_find(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                  struct qb_l2_place *out, struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t l1_index = offset / g->l1_span, l2_index = offset % g->l1_span / g->cluster_size;
    be64 raw, words[2] = {{{0}}, {{0}}};
    uint64_t l1, place;

    *out = (struct qb_l2_place){.kind = QB_UNALLOCATED};
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
    if (qb_io_read(io, img->file, place, words, g->l2_entry_size, "an L2 entry", err) < 0)
        return -1;
    out->at = place;
    out->entry = be64_get(words[0]);
    out->bitmap = qb_l2_bitmap(g, words, 0);
    out->kind = qb_l2_kind_at(g, words, 0);
    return 0;
}

int qb_image_lookup(struct qb_io *io, const struct qb_image *img, uint64_t offset, uint64_t *entry,
                    uint64_t *at, struct qb_err *err)
{
    struct qb_l2_place place;
    int r = qb_image_find(io, img, offset, &place, err);

    *entry = place.entry;
    *at = place.at;
    return r;
}

static int read_compressed(struct qb_io *io, const struct qb_image *img, uint64_t entry, void *buf,
                           struct qb_err *err)
{
    struct qb_compressed z = qb_l2_compressed(&img->geom, entry);
    QB_AUTO(qb_buf) void *in = NULL;

    if (z.offset >= img->file->size)
        return qb_fail(err, QB_E_CORRUPT, z.offset,
                       "a compressed cluster lies behind the end of the file");
    z.available = QB_MIN(z.available, img->file->size - z.offset);
    in = malloc(z.available);
    if (!in)
        return qb_fail_memory(err);
    if (qb_io_read(io, img->file, z.offset, in, z.available, "a compressed cluster", err) < 0)
        return -1;
    return qb_decompress(img->header.compression_type, in, z.available, buf, img->geom.cluster_size,
                         err);
}

/* Whether this build can read the cluster that the entry names; `host`: the file that has it. */
static int check_cluster(const struct qb_image *img, const struct qb_file *host, uint64_t entry,
                         struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t offset = entry & QB_ENTRY_OFFSET;

    if (img->header.crypt_method || (g->external_data && host == img->file))
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "this needs to read guest data of an image with %s",
                       img->header.crypt_method ? "encryption" : "an external data file");
    if (!(entry & QB_ENTRY_COMPRESSED) && /* QEMU reads zeros past the end of a data file */
        (offset % g->cluster_size || (offset >= host->size && host == img->file)))
        return qb_fail(err, QB_E_CORRUPT, offset, "a data cluster is misplaced");
    return 0;
}

/* The bytes of the cluster of an entry of kind QB_DATA or QB_COMPRESSED, decompressed.  `buf` is
 * one cluster long. */
static int read_cluster(struct qb_io *io, const struct qb_image *img, uint64_t entry, void *buf,
                        struct qb_err *err)
{
    const struct qb_geom *g = &img->geom;
    uint64_t offset = entry & QB_ENTRY_OFFSET, have;

    if (check_cluster(img, img->file, entry, err) < 0)
        return -1;
    if (entry & QB_ENTRY_COMPRESSED)
        return read_compressed(io, img, entry, buf, err);
    have = QB_MIN(g->cluster_size, img->file->size - offset);
    memset((uint8_t *)buf + have, 0, g->cluster_size - have);
    return qb_io_read(io, img->file, offset, buf, have, "a data cluster", err);
}

int qb_image_read_own(struct qb_io *io, const struct qb_image *img, const struct qb_l2_place *place,
                      uint8_t *buf, struct qb_err *err)
{
    uint64_t sub = img->geom.cluster_size / QB_SUBCLUSTERS;
    bool plain = place->kind == QB_PARTIAL && (uint32_t)place->bitmap;

    if (!plain && place->kind != QB_DATA && place->kind != QB_COMPRESSED) {
        memset(buf, 0, img->geom.cluster_size);
        return 0;
    }
    if (read_cluster(io, img, place->entry, buf, err) < 0)
        return -1;
    for (unsigned i = 0; plain && i < QB_SUBCLUSTERS; i++)
        if (!(place->bitmap >> i & 1))
            memset(buf + i * sub, 0, sub);
    return 0;
}

/* What goes through all calls that read a chain. */
struct reading {
    struct qb_io *io;
    struct qb_chain *chain;
    struct qb_err *err;
};

/* Deflate expands a byte to at most 1,032, and a cluster of 2 MiB may hold one page.  The same
 * factor allows for as many snapshots that read all of the chain. */
#define READ_PER_ALLOCATED 1100u
#define READ_AT_LEAST      (256ull << 20)

static int charge(const struct reading *r, const struct qb_link *l, uint64_t len)
{
    struct qb_chain *chain = r->chain;

    chain->read += len;
    if (chain->read / READ_PER_ALLOCATED <= chain->allocated || chain->read <= READ_AT_LEAST)
        return 0;
    return qb_fail(r->err, QB_E_UNSUPPORTED, QB_NOWHERE,
                   "this needs to read far more from %s and its backing files than they hold",
                   l->file.path);
}

/* Keeps the inflated cluster: it is inflated once, however small the pieces are in which it is read
 * (an overlay's clusters may be smaller). */
static int read_inflated(const struct reading *r, struct qb_link *l, uint64_t entry,
                         const uint8_t **out)
{
    const struct qb_geom *g = &l->img.geom;
    struct qb_inflated *z = &r->chain->inflated[g->cluster_bits - QB_CLUSTER_BITS_LEAST];

    *out = z->bytes;
    if (z->link == l && z->entry == entry)
        return 0;
    z->link = NULL;
    if (!z->bytes)
        z->bytes = malloc(g->cluster_size);
    if (!z->bytes)
        return qb_fail_memory(r->err);
    if (charge(r, l, g->cluster_size) < 0 ||
        read_cluster(r->io, &l->img, entry, z->bytes, r->err) < 0)
        return -1;
    z->link = l;
    z->entry = entry;
    *out = z->bytes;
    return 0;
}

/* Reads bytes of one cluster that is not compressed. */
static int read_plain(const struct reading *r, struct qb_link *l, uint64_t entry, uint64_t within,
                      uint64_t len, uint8_t *buf)
{
    struct qb_file *host = l->img.geom.external_data ? &l->data : &l->file;
    uint64_t at = (entry & QB_ENTRY_OFFSET) + within;
    uint64_t have = at < host->size ? QB_MIN(len, host->size - at) : 0;

    if (check_cluster(&l->img, host, entry, r->err) < 0)
        return -1;
    memset(buf + have, 0, len - have);
    return have ? qb_io_read(r->io, host, at, buf, have, "a data cluster", r->err) : 0;
}

static int read_data(const struct reading *r, struct qb_link *l, uint64_t entry, uint64_t offset,
                     uint64_t len, uint8_t *buf)
{
    uint64_t within = offset % l->img.geom.cluster_size;
    const uint8_t *cluster;

    if ((l->img.geom.external_data && qb_link_open_data(r->io, r->chain, l, r->err) < 0) ||
        charge(r, l, len) < 0)
        return -1;
    if (!(entry & QB_ENTRY_COMPRESSED))
        return read_plain(r, l, entry, within, len, buf);
    if (read_inflated(r, l, entry, &cluster) < 0)
        return -1;
    memcpy(buf, cluster + within, len);
    return 0;
}

static int read_raw(const struct reading *r, struct qb_link *l, uint64_t offset, uint64_t len,
                    uint8_t *buf)
{
    uint64_t have = offset < l->file.size ? QB_MIN(len, l->file.size - offset) : 0;

    memset(buf + have, 0, len - have);
    if (have == 0)
        return 0;
    if (qb_file_is_hole(&l->file, offset, have)) {
        memset(buf, 0, have);
        return 0;
    }
    return qb_io_read(r->io, &l->file, offset, buf, have, "the backing file", r->err);
}

static int read_from(const struct reading *r, size_t depth, uint64_t offset, uint64_t len,
                     uint8_t *buf);

/* Reads what the qcow2 link shows at `offset`, at most len bytes; *done is how many. */
static int read_piece(const struct reading *r, size_t depth, uint64_t offset, uint64_t len,
                      uint8_t *buf, uint64_t *done)
{
    struct qb_link *l = r->chain->links[depth];
    uint64_t cs = l->img.geom.cluster_size;
    struct qb_map_run run;

    if (qb_map_run(r->io, &l->map, offset, offset + len, &run, r->err) < 0)
        return -1;
    *done = run.end - offset;
    if (run.shows == QB_SHOWS_ERROR)
        return qb_fail(r->err, QB_E_CORRUPT, QB_NOWHERE,
                       "the cluster at guest byte %llu of %s cannot be read: %s",
                       (unsigned long long)(offset - offset % cs), l->file.path, run.why);
    if (run.shows == QB_SHOWS_BELOW)
        return read_from(r, depth + 1, offset, *done, buf);
    if (run.shows == QB_SHOWS_ZERO) {
        memset(buf, 0, *done);
        return 0;
    }
    *done = QB_MIN(*done, cs - offset % cs);
    if (l->img.geom.l2_entry_size == 16 && !(run.entry & QB_ENTRY_COMPRESSED)) {
        unsigned sub = (unsigned)(offset % cs / (cs / QB_SUBCLUSTERS));

        *done = QB_MIN(*done, cs / QB_SUBCLUSTERS - offset % (cs / QB_SUBCLUSTERS));
        if (run.bitmap >> (QB_SUBCLUSTERS + sub) & 1) {
            memset(buf, 0, *done);
            return 0;
        }
        if (!(run.bitmap >> sub & 1))
            return read_from(r, depth + 1, offset, *done, buf);
    }
    return read_data(r, l, run.entry, offset, *done, buf);
}

static int read_from(const struct reading *r, size_t depth, uint64_t offset, uint64_t len,
                     uint8_t *buf)
{
    struct qb_link *l = depth < r->chain->n ? r->chain->links[depth] : NULL;
    uint64_t have = l && offset < l->size ? QB_MIN(len, l->size - offset) : 0, done;

    memset(buf + have, 0, len - have);
    if (have && l->is_remote)
        return qb_link_refuse(l, "not local", r->err);
    if (have && !l->is_qcow2)
        return read_raw(r, l, offset, have, buf);
    for (; have; have -= done) {
        if (read_piece(r, depth, offset, have, buf, &done) < 0)
            return -1;
        offset += done;
        buf += done;
    }
    return 0;
}

int qb_chain_read(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t len,
                  void *buf, struct qb_err *err)
{
    const struct reading r = {io, chain, err};

    return read_from(&r, 0, offset, len, buf);
}

/* ---- by what is allocated -------------------------------------------------------------------- */

static int next_from(const struct reading *r, size_t depth, uint64_t offset, uint64_t end,
                     struct qb_range *out);

static void next_in_raw(struct qb_link *l, uint64_t offset, uint64_t end, struct qb_range *out)
{
    uint64_t first;

    end = QB_MIN(end, l->file.size);
    first = offset < end ? qb_file_next_data(&l->file, offset) : end;
    if (first < end)
        *out = (struct qb_range){first, qb_min(qb_file_data_end(&l->file, first), end)};
}

static int next_in_qcow2(const struct reading *r, size_t depth, uint64_t offset, uint64_t end,
                         struct qb_range *out)
{
    struct qb_map_run run;

    for (; offset < end && out->first == out->end; offset = run.end) {
        if (qb_io_go_on(r->io, r->err) < 0 ||
            qb_map_run(r->io, &r->chain->links[depth]->map, offset, end, &run, r->err) < 0)
            return -1;
        if (run.shows == QB_SHOWS_DATA || run.shows == QB_SHOWS_ERROR)
            *out = (struct qb_range){offset, run.end};
        else if (run.shows == QB_SHOWS_BELOW && next_from(r, depth + 1, offset, run.end, out) < 0)
            return -1;
    }
    return 0;
}

static int next_from(const struct reading *r, size_t depth, uint64_t offset, uint64_t end,
                     struct qb_range *out)
{
    struct qb_link *l = depth < r->chain->n ? r->chain->links[depth] : NULL;

    if (!l || offset >= l->size)
        return 0;
    if (l->is_qcow2)
        return next_in_qcow2(r, depth, offset, QB_MIN(end, l->size), out);
    if (l->is_remote)
        *out = (struct qb_range){offset, end};
    else
        next_in_raw(l, offset, end, out);
    return 0;
}

int qb_chain_next_data(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t end,
                       struct qb_range *out, struct qb_err *err)
{
    const struct reading r = {io, chain, err};

    *out = (struct qb_range){0};
    if (next_from(&r, 0, offset, end, out) < 0)
        return -1;
    if (out->first == out->end)
        *out = (struct qb_range){end, end};
    return 0;
}
