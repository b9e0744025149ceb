/* What persistent bitmaps occupy ("Bitmaps"). */
#include <string.h>

#include "check/census.h"

struct walk {
    struct qb_io *io;
    const struct qb_image *img;
    qb_range_fn *fn;
    void (*odd)(void *arg, uint64_t at, const char *text);
    void *arg;
    uint64_t budget; /* bytes of tables still to be believed: no more than the file has */
};

static void odd(const struct walk *w, uint64_t at, const char *text)
{
    if (w->odd)
        w->odd(w->arg, at, text);
}

static int walk_table(struct walk *w, uint64_t offset, uint32_t entries, struct qb_err *err)
{
    const struct qb_geom *g = &w->img->geom;
    QB_AUTO(qb_buf) be64 *table = NULL;

    if (entries == 0)
        return 0;
    if (offset % g->cluster_size || !qb_range_ok(offset, entries, 8, w->img->file->size) ||
        8ull * entries > w->budget) {
        odd(w, offset,
            "a bitmap table is not cluster aligned, overlaps, or ends past the end of the file");
        return 0;
    }
    w->budget -= 8ull * entries;
    if (w->fn(w->arg, offset, 8ull * entries, "a bitmap table", err) < 0)
        return -1;
    table = malloc(8ull * entries);
    if (!table)
        return qb_fail_memory(err);
    if (qb_io_read(w->io, w->img->file, offset, table, 8ull * entries, "a bitmap table", err) < 0)
        return -1;
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t e = be64_get(table[i]), data = e & QB_ENTRY_OFFSET;

        if ((e & QB_BITMAP_TABLE_RESERVED) || data % g->cluster_size || (data && (e & 1)) ||
            data >= w->img->file->size)
            odd(w, offset + 8ull * i, "a bitmap table entry cannot be");
        else if (data && w->fn(w->arg, data, QB_MIN(g->cluster_size, w->img->file->size - data),
                               "a bitmap's data", err) < 0)
            return -1;
    }
    return 0;
}

static int walk_directory(struct walk *w, uint32_t n, uint64_t offset, uint64_t size,
                          struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *dir = malloc(size ? size : 1);
    uint64_t at = 0;

    if (!dir)
        return qb_fail_memory(err);
    if (qb_io_read(w->io, w->img->file, offset, dir, size, "the bitmap directory", err) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        struct qb_disk_bitmap d;

        if (!qb_range_ok(at, 1, sizeof(d), size)) {
            odd(w, offset + at, "the bitmap directory is too short");
            return 0;
        }
        memcpy(&d, dir + at, sizeof(d));
        if (walk_table(w, be64_get(d.table_offset), be32_get(d.table_size), err) < 0)
            return -1;
        at = qb_round_up(at + sizeof(d) + be32_get(d.extra_data_size) + be16_get(d.name_size), 8);
    }
    return 0;
}

int qb_bitmaps_walk(struct qb_io *io, const struct qb_image *img, qb_range_fn *fn,
                    void (*odd_fn)(void *arg, uint64_t at, const char *text), void *arg,
                    struct qb_err *err)
{
    struct walk w = {io, img, fn, odd_fn, arg, img->file->size};
    struct qb_disk_bitmaps_ext ext;
    uint64_t offset, size;

    if (!qb_image_has_bitmaps(img, &ext))
        return 0;
    offset = be64_get(ext.directory_offset);
    size = be64_get(ext.directory_size);
    if (offset == 0 || offset % img->geom.cluster_size || size > QB_MAX_BITMAP_DIRECTORY ||
        be32_get(ext.nb_bitmaps) > QB_MAX_BITMAPS ||
        !qb_range_ok(offset, size, 1, img->file->size)) {
        odd(&w, offset, "the bitmap directory cannot be where the header says");
        return 0;
    }
    if (fn(arg, offset, size, "the bitmap directory", err) < 0)
        return -1;
    return walk_directory(&w, be32_get(ext.nb_bitmaps), offset, size, err);
}

static int count_range(void *arg, uint64_t offset, uint64_t len, const char *what,
                       struct qb_err *err)
{
    return qb_census_meta(arg, offset, len, what, err);
}

static void note_odd(void *arg, uint64_t at, const char *text)
{
    struct qb_census *c = arg;

    qb_census_note(c, &c->n_bad, false, at, "%s", text);
}

int qb_census_bitmaps(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    return qb_bitmaps_walk(io, c->img, count_range, note_odd, c, err);
}
