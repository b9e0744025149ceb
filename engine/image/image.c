#include "image/image.h"

#include <stdio.h>
#include <string.h>

#include "base/crc32.h"
#include "qcow2/agree.h"

#define FIRST_READ                                                                                 \
    4096u /* bytes: holds all that QEMU puts before the name, and the name mostly                  \
           */

static int read_head(struct qb_io *io, struct qb_image *img, uint64_t len, struct qb_err *err)
{
    uint8_t *grown = realloc(img->head, len);

    if (!grown)
        return qb_fail_memory(err);
    img->head = grown;
    img->head_len = len;
    if (qb_io_read_head(io, img->file, grown, len, err) < 0)
        return -1;
    if (img->sector)
        memcpy(grown, img->sector, QB_MIN(len, QB_SECTOR));
    return 0;
}

static int copy_name(struct qb_image *img, struct qb_err *err)
{
    const struct qb_header *h = &img->header;

    if (h->backing_offset == 0)
        return 0;
    memcpy(img->backing_name, img->head + h->backing_offset, h->backing_len);
    img->backing_name[h->backing_len] = 0;
    if (strlen(img->backing_name) != h->backing_len)
        return qb_fail(err, QB_E_CORRUPT, h->backing_offset,
                       "the backing file name has a NUL inside");
    return 0;
}

static int copy_format(struct qb_image *img, struct qb_err *err)
{
    const struct qb_ext *e = qb_ext_find(&img->exts, QB_EXT_BACKING_FORMAT);

    if (!e)
        return 0;
    if (e->len >= sizeof(img->backing_fmt))
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "the backing format has a name of %u bytes", e->len);
    memcpy(img->backing_fmt, e->data, e->len);
    img->backing_fmt[e->len] = 0;
    return 0;
}

/* Once the extensions that are kept are known. */
static int copy_data_name(struct qb_image *img, struct qb_err *err)
{
    const struct qb_ext *e = qb_ext_find(&img->exts, QB_EXT_DATA_FILE);

    img->data_name =
        e && img->geom.external_data ? strndup((const char *)e->data, e->len) : strdup("");
    return img->data_name ? 0 : qb_fail_memory(err);
}

/* 1: the head must be longer. */
static int parse_head(struct qb_image *img, struct qb_err *err)
{
    const struct qb_header *h = &img->header;
    uint64_t end = h->backing_offset ? h->backing_offset : img->geom.cluster_size;
    const struct qb_ext *names;
    int r = qb_ext_parse(img->head, img->head_len, h->header_length, end, &img->exts, &img->ext_end,
                         err);

    if (r)
        return r;
    if (h->backing_offset && h->backing_offset + h->backing_len > img->head_len)
        return 1;
    names = qb_ext_find(&img->exts, QB_EXT_FEATURE_NAMES);
    if (qb_header_check_features(h, names ? names->data : NULL, names ? names->len : 0, err) < 0 ||
        qb_header_agrees(h, &img->exts, err) < 0 || copy_name(img, err) < 0)
        return -1;
    img->odd_bitmaps = (struct qb_err){.code = QB_E_NONE};
    qb_header_bitmaps_agree(h, &img->exts, &img->odd_bitmaps);
    return copy_format(img, err);
}

static int decode_all(struct qb_io *io, struct qb_image *img, struct qb_err *err)
{
    uint64_t whole;
    int r;

    if (read_head(io, img, QB_MIN(img->file->size, FIRST_READ), err) < 0 ||
        qb_header_decode(img->head, img->head_len, &img->header, err) < 0)
        return -1;
    qb_header_geom(&img->header, &img->geom);
    if (img->head_len < QB_SECTOR)
        return qb_fail(err, QB_E_CORRUPT, img->head_len,
                       "the file ends inside the header's sector");
    r = parse_head(img, err);
    if (r <= 0)
        return r;
    whole = QB_MIN(img->geom.cluster_size, img->file->size);
    if (whole > img->head_len && read_head(io, img, whole, err) < 0)
        return -1;
    r = parse_head(img, err);
    if (r > 0)
        return qb_fail(err, QB_E_CORRUPT, img->head_len, "the file ends inside the header");
    return r;
}

/* The end of what the header, its extensions and the backing name take. */
static uint64_t head_used(const struct qb_image *img)
{
    uint64_t used = QB_MAX(img->ext_end, QB_SECTOR);

    if (img->header.backing_offset)
        used = QB_MAX(used, img->header.backing_offset + img->header.backing_len);
    for (size_t i = 0; i < img->exts.n; i++)
        used =
            QB_MAX(used, (uint64_t)(img->exts.items[i].data - img->head) + img->exts.items[i].len);
    return used;
}

/* Selects the extensions that are kept: all of a class that fit a sector, the only place to which
 * an amend writes them; of larger ones the beginning of the last of each type that is read.  A
 * header cluster of 2 MiB may consist of extensions, and a wave has hundreds of images open. */
static void choose_exts(struct qb_image *img)
{
    uint64_t space[QB_EXT_CLASSES] = {0};
    size_t to = img->exts.n;
    unsigned seen = 0;

    qb_vec_each (e, &img->exts)
        space[qb_ext_class(e->type)] += qb_ext_space(e->len);
    for (size_t i = 0; i < QB_EXT_CLASSES; i++)
        img->exts_left_out[i] = space[i] > QB_SECTOR;
    for (size_t i = img->exts.n; i-- > 0;) {
        struct qb_ext e = img->exts.items[i];
        unsigned reader = qb_ext_reader(e.type);

        if (img->exts_left_out[qb_ext_class(e.type)] && (!reader || (seen & reader)))
            continue;
        seen |= reader;
        e.len = QB_MIN(e.len, QB_MAX_EXT_READ);
        img->exts.items[--to] = e;
    }
    img->exts.n -= to;
    if (img->exts.n)
        memmove(img->exts.items, img->exts.items + to, img->exts.n * sizeof(*img->exts.items));
}

/* Frees the bytes after the header, except for the extensions that are kept. */
static int keep_used(struct qb_image *img, struct qb_err *err)
{
    uint64_t kept = QB_SECTOR;
    qb_ext_list exts = {0};
    uint8_t *head;
    struct qb_disk_ext end = {0};

    img->head_used = qb_min(head_used(img), img->head_len);
    if (img->ext_end)
        memcpy(&end, img->head + img->ext_end - sizeof(end), sizeof(end));
    img->ext_end_len = be32_get(end.length);
    img->head_crc = qb_crc32(0, img->head + QB_SECTOR, img->head_used - QB_SECTOR);
    choose_exts(img);
    qb_vec_each (e, &img->exts)
        kept += e->len;
    head = malloc(kept);
    if (!head)
        return qb_fail_memory(err);
    memcpy(head, img->head, QB_SECTOR);
    kept = QB_SECTOR;
    qb_vec_each (e, &img->exts) {
        memcpy(head + kept, e->data, e->len);
        e->data = head + kept;
        kept += e->len;
        if (!qb_vec_push(&exts, *e)) {
            qb_vec_free(&exts);
            free(head);
            return qb_fail_memory(err);
        }
    }
    free(img->head);
    qb_vec_free(&img->exts);
    img->head = head;
    img->head_len = kept;
    img->exts = exts;
    return 0;
}

int qb_image_open(struct qb_io *io, struct qb_file *file, struct qb_image *out, struct qb_err *err)
{
    return qb_image_open_as(io, file, NULL, out, err);
}

static int open_any(struct qb_io *io, struct qb_image *img, struct qb_err *err)
{
    if (decode_all(io, img, err) == 0 && keep_used(img, err) == 0 && copy_data_name(img, err) == 0)
        return 0;
    qb_image_close(img);
    return -1;
}

int qb_image_open_as(struct qb_io *io, struct qb_file *file, const uint8_t *sector,
                     struct qb_image *out, struct qb_err *err)
{
    struct qb_image img = {.file = file, .sector = sector};

    if (open_any(io, &img, err) < 0)
        return -1;
    if (img.odd_bitmaps.code) {
        if (err)
            *err = img.odd_bitmaps;
        qb_image_close(&img);
        return -1;
    }
    *out = img;
    return 0;
}

int qb_image_open_to_mend(struct qb_io *io, struct qb_file *file, struct qb_image *out,
                          struct qb_err *err)
{
    struct qb_image img = {.file = file};

    if (open_any(io, &img, err) < 0)
        return -1;
    *out = img;
    return 0;
}

void qb_image_close(struct qb_image *img)
{
    qb_vec_free(&img->exts);
    qb_snapshot_table_free(&img->snapshots);
    free(qb_take(&img->head));
    free(qb_take(&img->data_name));
    free(qb_take(&img->raw));
}

/* Entries take slightly more memory than their 40 bytes on disk. */
static int check_snapshot_memory(uint64_t len, uint32_t n, uint64_t memory_limit,
                                 struct qb_err *err)
{
    if (len + 2ull * n * sizeof(struct qb_snapshot) <= memory_limit)
        return 0;
    return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                   "the table of %u snapshots takes more than %llu KiB", n,
                   (unsigned long long)(memory_limit >> 10));
}

int qb_image_read_snapshots(struct qb_io *io, struct qb_image *img, struct qb_err *err)
{
    return qb_image_read_snapshots_in(io, img, UINT64_MAX, err);
}

int qb_image_read_snapshots_in(struct qb_io *io, struct qb_image *img, uint64_t memory_limit,
                               struct qb_err *err)
{
    const struct qb_header *h = &img->header;
    struct qb_snapshot_table *t = &img->snapshots;
    uint64_t limit = QB_MIN(img->file->size, h->snapshots_offset + QB_MAX_SNAPSHOT_TABLE);
    uint64_t len = 64ull * h->nb_snapshots + 4096;
    int r = h->nb_snapshots ? 1 : 0;

    while (r > 0) {
        uint8_t *grown;

        if (h->snapshots_offset >= limit)
            return qb_fail(err, QB_E_CORRUPT, h->snapshots_offset,
                           "the snapshot table lies behind the end of the file");
        len = QB_MIN(len, limit - h->snapshots_offset);
        if (check_snapshot_memory(len, h->nb_snapshots, memory_limit, err) < 0)
            return -1;
        grown = realloc(t->bytes, len);
        if (!grown)
            return qb_fail_memory(err);
        t->bytes = grown;
        t->room = len;
        if (qb_io_read(io, img->file, h->snapshots_offset, t->bytes, len, "the snapshot table",
                       err) < 0)
            return -1;
        r = qb_snapshot_decode(t->bytes, len, h->nb_snapshots, h->size, t, err);
        if (r > 0 && len == limit - h->snapshots_offset)
            return qb_fail(err, QB_E_CORRUPT, h->snapshots_offset,
                           "the snapshot table ends past the end of the file");
        len *= 4;
    }
    if (r < 0 && err->offset != QB_NOWHERE)
        err->offset += h->snapshots_offset;
    return r;
}

size_t qb_image_memory(const struct qb_image *img)
{
    return img->head_len + img->exts.cap * sizeof(*img->exts.items) + img->snapshots.room +
           img->snapshots.list.cap * sizeof(*img->snapshots.list.items);
}
