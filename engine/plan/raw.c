#include "plan/raw.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/sizing.h"
#include "base/units.h"
#include "io/extents.h"
#include "io/reserve.h"
#include "chain/probe.h"

/* No file system that is used for images has larger blocks: ZFS's records, by default. */
#define BLOCK_MOST (UINT64_C(1) << 20)

enum { DEFAULT_CLUSTER_BITS = 16, LEAST_CLUSTER_BITS = 9, MOST_CLUSTER_BITS = 21 };
enum { PIECE_BYTES = 256 << 10 };

/* ---- is it raw? ------------------------------------------------------------------------------ */

/* Formats that are known by the file's last sector. */
static const char *format_of_tail(const uint8_t tail[QB_SECTOR])
{
    if (memcmp(tail, "conectix", 8) == 0)
        return "vpc";
    return memcmp(tail, "koly", 4) == 0 ? "dmg" : NULL;
}

static const char *format_of_head(const uint8_t head[QB_SECTOR])
{
    const char *format = qb_probe_magic(head);

    if (strcmp(format, "qcow2") == 0 && head[7] == 1)
        return "qcow"; /* the same mark, version 1 */
    return strcmp(format, "raw") == 0 ? NULL : format;
}

static int refuse_format(const char *format, const char *where, struct qb_err *err)
{
    const char *hint =
        strcmp(format, "qcow2") == 0  ? "; it was converted before, or a guest wrote that"
        : strcmp(format, "luks") == 0 ? "; a guest that encrypts its whole disk writes the same"
                                      : "; or a guest wrote that";

    return QB_REFUSE("convert: the file is not taken for a raw disk, for it %s like an image of "
                     "format %s%s",
                     where, format, hint);
}

static int read_sectors(struct qb_io *io, struct qb_image *img, struct qb_err *err)
{
    struct qb_file *file = img->file;
    uint8_t tail[QB_SECTOR] = {0};
    const char *format;

    if (qb_io_read(io, file, 0, img->raw, QB_MIN(img->raw_end, (uint64_t)QB_SECTOR),
                   "its beginning", err) < 0)
        return -1;
    if ((format = format_of_head(img->raw)))
        return refuse_format(format, "begins", err);
    if (img->raw_end < QB_SECTOR)
        return 0;
    if (qb_io_read(io, file, img->raw_end - QB_SECTOR, tail, QB_SECTOR, "its end", err) < 0)
        return -1;
    format = format_of_tail(tail);
    return format ? refuse_format(format, "ends", err) : 0;
}

/* ---- the image that it becomes --------------------------------------------------------------- */

static int choose_geometry(const struct qb_request *rq, struct qb_header *h, struct qb_err *err)
{
    h->cluster_bits = DEFAULT_CLUSTER_BITS;
    if (qb_asked(rq, QB_KEY_CLUSTER_SIZE))
        for (h->cluster_bits = LEAST_CLUSTER_BITS;
             h->cluster_bits < MOST_CLUSTER_BITS && 1ull << h->cluster_bits < rq->cluster_size;)
            h->cluster_bits++;
    if (qb_asked(rq, QB_KEY_CLUSTER_SIZE) && 1ull << h->cluster_bits != rq->cluster_size)
        return QB_REFUSE("cluster_size=%llu is not a power of two from 512 to 2097152",
                         (unsigned long long)rq->cluster_size);
    if (!qb_asked(rq, QB_KEY_EXTENDED_L2) || !rq->extended_l2)
        return 0;
    if (qb_asked(rq, QB_KEY_COMPAT) && rq->compat == 2)
        return QB_REFUSE("extended_l2=on needs compat=1.1");
    if (h->cluster_bits < QB_EXTENDED_L2_CLUSTER_BITS)
        return QB_REFUSE("extended_l2=on needs clusters of 16384 bytes or more, not %u",
                         1u << h->cluster_bits);
    h->incompatible |= QB_INCOMPAT_EXTENDED_L2;
    return 0;
}

/* A raw disk on a device is as long as the device, and the image needs space past its disk. */
static int choose_device_size(const struct qb_image *img, const struct qb_request *rq,
                              uint64_t *size, struct qb_err *err)
{
    uint64_t device = img->file->size, cs = img->geom.cluster_size;
    char has[QB_TEXT_NUMBER];

    qb_text_size_exact(device, has);
    if (!qb_asked(rq, QB_KEY_SIZE) || rq->size_is != QB_SIZE_SET)
        return QB_REFUSE("convert: on a block device `size` must be the size of the disk, and the "
                         "image's tables go between its end and that of the device, which has %s",
                         has);
    *size = rq->size;
    if (*size > device)
        return QB_REFUSE("convert: the size %llu is past the end of the device, which has %s",
                         (unsigned long long)*size, has);
    if (*size % cs)
        return QB_REFUSE("convert: on a block device the size must be a multiple of the cluster "
                         "size, and %llu is not one of %llu",
                         (unsigned long long)*size, (unsigned long long)cs);
    if (*size < device && !rq->allow_shrink)
        return QB_REFUSE("convert: the raw disk is as long as the device, %s; that all of it past "
                         "%llu is no longer part of the disk must be allowed (policy.allow_shrink, "
                         "--shrink)",
                         has, (unsigned long long)*size);
    return 0;
}

static int choose_size(const struct qb_image *img, const struct qb_request *rq, uint64_t *size,
                       struct qb_err *err)
{
    uint64_t now = qb_round_up(img->raw_end, QB_SECTOR);

    if (img->file->is_block_device)
        return choose_device_size(img, rq, size, err);
    if (!qb_sizing_of(rq, now, size))
        return QB_REFUSE("the new size is above 2^64");
    if (*size < now)
        return QB_REFUSE("convert: the size %llu is smaller than the raw disk, which has %llu: "
                         "convert it first, and shrink the image then",
                         (unsigned long long)*size, (unsigned long long)now);
    return 0;
}

static int check_size(const struct qb_image *img, uint64_t size, struct qb_err *err)
{
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];

    if (size == 0)
        return QB_REFUSE("convert: the file is empty, so there is no disk to convert");
    if (size % QB_SECTOR)
        return QB_REFUSE("the new size %llu is not a multiple of 512", (unsigned long long)size);
    if (size > INT64_MAX - img->geom.l1_span ||
        qb_geom_l1_needed(&img->geom, size) > QB_MAX_L1_BYTES / 8)
        return QB_REFUSE("a disk of %s is too large for clusters of %s",
                         qb_text_size_exact(size, a),
                         qb_text_size_exact(img->geom.cluster_size, b));
    return 0;
}

/* The header, with an end marker behind it: what follows in the first cluster stays as it is, and
 * is not to be read as extensions. */
static int make_head(struct qb_image *img, struct qb_err *err)
{
    img->head = calloc(1, QB_SECTOR);
    img->data_name = strdup("");
    if (!img->head || !img->data_name)
        return qb_fail_memory(err);
    qb_header_encode(&img->header, img->head);
    img->head_len = img->head_used = QB_SECTOR;
    img->ext_end = img->header.header_length + sizeof(struct qb_disk_ext);
    return 0;
}

static int make_image(struct qb_io *io, const struct qb_request *rq, struct qb_image *img,
                      struct qb_err *err)
{
    struct qb_header *h = &img->header;

    img->raw = calloc(1, QB_SECTOR);
    if (!img->raw)
        return qb_fail_memory(err);
    img->raw_end = img->file->size;
    if (rq->convert_length && !img->file->is_block_device)
        img->raw_end = QB_MIN(img->raw_end, rq->convert_length);
    if (read_sectors(io, img, err) < 0 || choose_geometry(rq, h, err) < 0)
        return -1;
    qb_header_geom(h, &img->geom);
    if (choose_size(img, rq, &h->size, err) < 0 || check_size(img, h->size, err) < 0)
        return -1;
    if (img->file->is_block_device)
        img->raw_end = h->size;
    return make_head(img, err);
}

int qb_raw_open(struct qb_io *io, struct qb_file *file, const struct qb_request *rq,
                struct qb_image *out, struct qb_err *err)
{
    struct qb_image img = {
        .file = file,
        .header = {.version = 3, .refcount_order = 4, .header_length = QB_V3_HEADER_LENGTH}};

    if (make_image(io, rq, &img, err) < 0) {
        qb_image_close(&img);
        return -1;
    }
    *out = img;
    return 0;
}

/* ---- what it holds --------------------------------------------------------------------------- */

static int count_clusters(struct qb_plan *plan, uint64_t first, uint64_t end, struct qb_err *err)
{
    uint64_t stop;

    first = QB_MAX(first, 1); /* the header's cluster, whose data the rule has copied */
    for (; first < end; first = stop) {
        stop = QB_MIN((first / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, end);
        if (qb_io_go_on(plan->in.io, err) < 0 ||
            qb_counts_add_data(&plan->census.counts, first, stop - first, 1, 0, err) < 0)
            return -1;
        plan->census.clusters.allocated += stop - first;
    }
    return 0;
}

uint64_t qb_raw_shared_from(const struct qb_image *img)
{
    uint64_t end = qb_round_up(img->raw_end, img->geom.cluster_size);

    return end - end % BLOCK_MOST;
}

/* What is looked for, and how far the search is. */
struct data_search {
    struct qb_plan *plan;
    uint64_t stop;  /* byte of the disk */
    uint64_t done;  /* clusters before it are counted */
    uint8_t *piece; /* of reserved space: once there is some to look at */
};

/* Counts the clusters of the bytes [first, end) that are not counted yet. */
static int count_bytes(struct data_search *s, uint64_t first, uint64_t end, struct qb_err *err)
{
    uint64_t cs = s->plan->in.img->geom.cluster_size, from = QB_MAX(first / cs, s->done);

    s->done = qb_max(qb_div_up(QB_MIN(end, s->stop), cs), from);
    return count_clusters(s->plan, from, s->done, err);
}

/* The clusters of the piece that are not only zeros. */
static int count_piece(struct data_search *s, uint64_t first, uint64_t len, struct qb_err *err)
{
    uint64_t cs = s->plan->in.img->geom.cluster_size;

    for (uint64_t i = 0, n; i < len; i += n) {
        n = QB_MIN(cs - (first + i) % cs, len - i);
        if (!qb_all_zero(s->piece + i, n) && count_bytes(s, first + i, first + i + n, err) < 0)
            return -1;
    }
    return 0;
}

/* Reserved space is data to SEEK_DATA where it is in the page cache, even if it has only been read.
 * So what is there decides: a run that is resumed must plan the same, whoever read the disk. */
static int count_reserved(struct data_search *s, uint64_t first, uint64_t end, struct qb_err *err)
{
    struct qb_file *file = s->plan->in.img->file;

    if (!s->piece && !(s->piece = malloc(PIECE_BYTES)))
        return qb_fail_memory(err);
    for (uint64_t at = first, n; at < end; at += n) {
        n = QB_MIN((uint64_t)PIECE_BYTES, end - at);
        if (qb_io_go_on(s->plan->in.io, err) < 0 ||
            qb_io_read(s->plan->in.io, file, at, s->piece, n, "reserved space", err) < 0 ||
            count_piece(s, at, n, err) < 0)
            return -1;
    }
    return 0;
}

/* Extent by extent.  Of small extents, a cluster each, only where they begin is asked for. */
static int seek_data(struct data_search *s, uint64_t first, uint64_t stop, bool reserved,
                     struct qb_err *err)
{
    struct qb_file *file = s->plan->in.img->file;
    uint64_t cs = s->plan->in.img->geom.cluster_size;

    for (uint64_t at, end = first; (at = qb_file_seek_data(file, end)) < stop;) {
        bool goes_on = at == end;

        if (qb_io_go_on(s->plan->in.io, err) < 0)
            return -1;
        end = goes_on ? qb_file_data_end(file, at) : (at / cs + 1) * cs;
        end = QB_MIN(QB_MAX(end, at + 1), stop); /* a hole may be punched between two calls */
        if ((reserved ? count_reserved : count_bytes)(s, at, end, err) < 0)
            return -1;
    }
    return 0;
}

/* An extent that is only reserved may hold data that is not on disk yet, for somebody may write
 * while it is looked at. */
static int count_extent(void *arg, const struct qb_extent *e, struct qb_err *err)
{
    struct data_search *s = arg;
    uint64_t end = QB_MIN(e->end, s->stop);

    if (e->first >= end)
        return 0;
    return e->unwritten ? seek_data(s, e->first, end, true, err)
                        : count_bytes(s, e->first, end, err);
}

/* Clusters that hold data, in whole or in part, or may do so once something is appended. */
static int count_data(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t shared = qb_raw_shared_from(img);
    struct data_search s = {plan, QB_MIN(shared, img->raw_end), 0, NULL};
    int r = qb_extents_are_exact(img->file)
                ? qb_extents_each(plan->in.io, img->file, 0, count_extent, &s, err)
                : seek_data(&s, 0, s.stop, false, err);

    free(s.piece);
    if (r < 0)
        return -1;
    return count_clusters(plan, shared / img->geom.cluster_size,
                          qb_geom_clusters(&img->geom, img->raw_end), err);
}

int qb_raw_census(struct qb_plan *plan, uint64_t memory_limit, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_census *c = &plan->census;
    uint64_t n = qb_geom_clusters(&img->geom, img->raw_end);
    bool reserved;
    int overlaps = 0;

    c->img = img;
    c->counts.memory_limit = memory_limit;
    c->clusters.valid = true;
    c->clusters.total = qb_geom_clusters(&img->geom, img->header.size);
    c->end = n * img->geom.cluster_size;
    if (qb_counts_add_meta(&c->counts, 0, 1, &overlaps, err) < 0 ||
        qb_file_is_reserved(plan->in.io, img->file, img->raw_end, &reserved, err) < 0)
        return -1;
    /* What is reserved stays the guest's: a cluster of it that is unallocated would be lost. */
    return reserved ? count_clusters(plan, 0, n, err) : count_data(plan, err);
}

bool qb_raw_is_mapped(const struct qb_plan *plan, uint64_t first, uint64_t end)
{
    struct qb_counts *counts = (struct qb_counts *)&plan->census.counts; /* finds, changes none */
    uint64_t disk = qb_geom_clusters(&plan->in.img->geom, plan->in.img->raw_end);

    return qb_counts_any(counts, QB_MAX(first, 1), QB_MIN(end, disk));
}
