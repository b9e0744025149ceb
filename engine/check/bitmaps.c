/* Walks what persistent bitmaps occupy ("Bitmaps"). */
#include <string.h>

#include "check/census.h"

struct walk {
    struct qb_io *io;
    const struct qb_image *img;
    qb_range_fn *fn;
    void (*odd)(void *arg, uint64_t at, const char *text);
    void *arg;
    uint64_t budget; /* bytes of tables that may still be read: no more than the file has */
    uint64_t table;  /* the one that is read now, bytes */
    const struct qb_bitmaps_skipped *skips; /* NULL: none */
};

enum { PIECE_BYTES = 4096 };

/* The bitmap directory.  It may be 64 MiB of a hole, and names may be long: only a piece of it is
 * in memory, and the bytes between two fixed parts are not read. */
struct directory {
    uint8_t piece[PIECE_BYTES];
    uint64_t first, end; /* the piece, in bytes of the directory */
    uint64_t offset, size, at;
    uint32_t left; /* entries not yet taken */
};

static void odd(const struct walk *w, uint64_t at, const char *text)
{
    if (w->odd)
        w->odd(w->arg, at, text);
}

/* Finds the directory; size = 0 if there is none, or an invalid one. */
static void directory_find(const struct walk *w, struct directory *d)
{
    struct qb_disk_bitmaps_ext ext;

    *d = (struct directory){.left = 0};
    if (!qb_image_has_bitmaps(w->img, &ext))
        return;
    d->offset = be64_get(ext.directory_offset);
    d->size = be64_get(ext.directory_size);
    if (d->offset == 0 || d->offset % w->img->geom.cluster_size ||
        d->size > QB_MAX_BITMAP_DIRECTORY || be32_get(ext.nb_bitmaps) > QB_MAX_BITMAPS ||
        !qb_range_ok(d->offset, d->size, 1, w->img->file->size)) {
        odd(w, d->offset, "the bitmap directory cannot be where the header says");
        d->size = 0;
        return;
    }
    d->left = be32_get(ext.nb_bitmaps);
}

/* Loads the piece that holds the fixed part of the entry at d->at. */
static int directory_fetch(const struct walk *w, struct directory *d, struct qb_err *err)
{
    if (d->at >= d->first && d->at + sizeof(struct qb_disk_bitmap) <= d->end)
        return 0;
    d->first = d->at;
    d->end = QB_MIN(d->at + PIECE_BYTES, d->size);
    return qb_io_read(w->io, w->img->file, d->offset + d->first, d->piece, d->end - d->first,
                      "the bitmap directory", err);
}

/* Takes the next entry: 1, or 0 after the last. */
static int directory_next(const struct walk *w, struct directory *d, struct qb_disk_bitmap *out,
                          struct qb_err *err)
{
    if (d->left == 0)
        return 0;
    d->left--;
    if (!qb_range_ok(d->at, 1, sizeof(*out), d->size)) {
        odd(w, d->offset + d->at, "the bitmap directory is too short");
        d->left = 0;
        return 0;
    }
    if (qb_io_go_on(w->io, err) < 0 || directory_fetch(w, d, err) < 0)
        return -1;
    memcpy(out, d->piece + (d->at - d->first), sizeof(*out));
    d->at = qb_round_up(
        d->at + sizeof(*out) + be32_get(out->extra_data_size) + be16_get(out->name_size), 8);
    return 1;
}

static int walk_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct walk *w = arg;
    uint64_t cs = w->img->geom.cluster_size, size = w->img->file->size;
    uint64_t data = entry & QB_ENTRY_OFFSET;

    if ((entry & QB_BITMAP_TABLE_RESERVED) || data % cs || (data && (entry & 1)) || data >= size)
        odd(w, w->table + 8ull * index, "a bitmap table entry cannot be");
    else if (data && w->fn(w->arg, data, QB_MIN(cs, size - data), QB_BITMAP_DATA, err) < 0)
        return -1;
    return 0;
}

static int walk_table(struct walk *w, uint64_t offset, uint32_t entries, struct qb_err *err)
{
    const struct qb_geom *g = &w->img->geom;
    int r;

    if (entries == 0)
        return 0;
    if (offset == 0 || offset % g->cluster_size ||
        !qb_range_ok(offset, entries, 8, w->img->file->size) || 8ull * entries > w->budget) {
        odd(w, offset,
            "a bitmap table is not cluster aligned, overlaps, or ends past the end of the file");
        return 0;
    }
    w->budget -= 8ull * entries;
    r = w->fn(w->arg, offset, 8ull * entries, "a bitmap table", err);
    if (r)
        return QB_MIN(r, 0);
    w->table = offset;
    return qb_image_scan_entries(
        &(struct qb_entry_scan){w->io, w->img, offset, entries, "a bitmap table", walk_entry, w},
        err);
}

static bool is_skipped(const struct walk *w, uint32_t i)
{
    return w->skips && i < w->skips->n && w->skips->which[i];
}

static int walk_all(struct walk *w, struct qb_err *err)
{
    struct qb_disk_bitmap bitmap;
    struct directory d;
    int r = 0;

    if (w->skips && w->skips->all)
        return 0;
    directory_find(w, &d);
    if (d.size)
        r = w->fn(w->arg, d.offset, d.size, "the bitmap directory", err);
    for (uint32_t i = 0; r == 0 && (r = directory_next(w, &d, &bitmap, err)) > 0; i++)
        r = is_skipped(w, i)
                ? 0
                : walk_table(w, be64_get(bitmap.table_offset), be32_get(bitmap.table_size), err);
    return QB_MIN(r, 0);
}

int qb_bitmaps_walk(struct qb_io *io, const struct qb_image *img, qb_range_fn *fn,
                    void (*odd_fn)(void *arg, uint64_t at, const char *text), void *arg,
                    struct qb_err *err)
{
    struct walk w = {io, img, fn, odd_fn, arg, img->file->size, 0, NULL};

    return walk_all(&w, err);
}

static int pass_by(void *arg, uint64_t offset, uint64_t len, const char *what, struct qb_err *err)
{
    (void)arg, (void)offset, (void)len, (void)what, (void)err;
    return 0;
}

static void note_table(void *arg, uint64_t at, const char *text)
{
    bool *is_odd = arg;

    (void)at, (void)text;
    *is_odd = true;
}

int qb_bitmaps_table_is_odd(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                            uint32_t entries, bool *is_odd, struct qb_err *err)
{
    struct walk w = {io, img, pass_by, note_table, is_odd, img->file->size, 0, NULL};

    *is_odd = false;
    return walk_table(&w, offset, entries, err);
}

static int count_range(void *arg, uint64_t offset, uint64_t len, const char *what,
                       struct qb_err *err)
{
    return qb_census_meta(arg, offset, len, what, err);
}

static void note_odd(void *arg, uint64_t at, const char *text)
{
    struct qb_census *c = arg;

    c->n_odd_bitmaps++;
    qb_census_note(c, QB_DEFECT_BITMAP_INVALID, at, "%s", text);
}

int qb_census_bitmaps(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    struct walk w = {io, c->img, count_range, note_odd, c, c->img->file->size, 0, c->skips};

    return walk_all(&w, err);
}
