#include "image/bitmap.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void qb_bitmaps_free(struct qb_bitmaps *b)
{
    qb_vec_free(&b->list);
    free(b->bytes);
    free(b->names);
    b->bytes = NULL;
    b->names = NULL;
}

uint64_t qb_bitmaps_memory(const struct qb_bitmaps *b)
{
    return b->list.cap * sizeof(*b->list.items) + (b->bytes ? b->len : 0) + (b->names ? b->len : 0);
}

uint64_t qb_bitmap_table_entries(const struct qb_geom *g, uint64_t size, unsigned granularity_bits)
{
    uint64_t bits = qb_div_up(size, UINT64_C(1) << granularity_bits);

    return qb_geom_clusters(g, qb_div_up(bits, 8));
}

uint64_t qb_bitmap_entry_len(const struct qb_bitmap *b)
{
    return qb_round_up(sizeof(struct qb_disk_bitmap) + b->extra_len + strlen(b->name), 8);
}

void qb_bitmap_encode(const struct qb_bitmap *b, uint8_t *at)
{
    size_t name_len = strlen(b->name);
    struct qb_disk_bitmap d = {
        .table_offset = be64_of(b->table_offset),
        .table_size = be32_of(b->table_size),
        .flags = be32_of(b->flags),
        .type = QB_BITMAP_DIRTY_TRACKING,
        .granularity_bits = b->granularity_bits,
        .name_size = be16_of((uint16_t)name_len),
        .extra_data_size = be32_of(b->extra_len),
    };

    memset(at, 0, qb_bitmap_entry_len(b));
    memcpy(at, &d, sizeof(d));
    if (b->extra_len)
        memcpy(at + sizeof(d), b->extra, b->extra_len);
    memcpy(at + sizeof(d) + b->extra_len, b->name, name_len);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reader {
    const struct qb_image *img;
    struct qb_bitmaps *out;
    uint64_t offset; /* of the directory, bytes of the file */
    uint64_t at;     /* of the entry that is read, bytes of the directory */
    char *name;      /* where the next name goes */
};

/* Notes the first thing that QEMU would not take. */
static void odd(struct reader *r, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void odd(struct reader *r, uint64_t at, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    if (r->out->odd.code)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    qb_fail(&r->out->odd, QB_E_CORRUPT, at, "%s", text);
}

/* The entries that were taken do not count either. */
static int broken(struct reader *r)
{
    r->out->broken = true;
    r->out->list.n = 0;
    return 0;
}

#define ODD(...)    (odd(r, r->offset + r->at, __VA_ARGS__), b->odd = true)
#define BROKEN(...) (odd(r, r->offset + r->at, __VA_ARGS__), broken(r))

/* What QEMU holds an entry against. */
static int check_entry(struct reader *r, const struct qb_disk_bitmap *d, struct qb_bitmap *b,
                       struct qb_err *err)
{
    uint64_t needs;

    if (d->type != QB_BITMAP_DIRTY_TRACKING || (b->flags & ~QB_BITMAP_FLAGS))
        ODD("bitmap \"%.80s\" is of type %u with flags 0x%x, which QEMU does not have", b->name,
            d->type, b->flags);
    if (b->granularity_bits < QB_BITMAP_GRANULARITY_MIN ||
        b->granularity_bits > QB_BITMAP_GRANULARITY_MAX)
        ODD("bitmap \"%.80s\" has a granularity of 2^%u bytes", b->name, b->granularity_bits);
    if (b->table_size == 0 || b->table_offset == 0 || b->table_offset % r->img->geom.cluster_size ||
        b->table_size > QB_MAX_BITMAP_BYTES / r->img->geom.cluster_size)
        ODD("bitmap \"%.80s\" has a table of %u entries at 0x%llx, which cannot be", b->name,
            b->table_size, (unsigned long long)b->table_offset);
    if (b->odd)
        return 0;
    needs = qb_bitmap_table_entries(&r->img->geom, r->img->header.size, b->granularity_bits);
    if (!(b->flags & QB_BITMAP_IN_USE) && b->table_size != needs)
        ODD("bitmap \"%.80s\" has a table of %u entries, and the disk needs %llu", b->name,
            b->table_size, (unsigned long long)needs);
    if (b->extra_len && !(b->flags & QB_BITMAP_EXTRA_COMPATIBLE))
        return qb_fail(
            err, QB_E_UNSUPPORTED, r->offset + r->at,
            "bitmap \"%.80s\" has extra data that only programs which know them may change",
            b->name);
    return 0;
}

/* Takes the entry at r->at. */
static int take_entry(struct reader *r, struct qb_err *err)
{
    const uint8_t *raw = r->out->bytes + r->at;
    uint64_t room = r->out->len - r->at, len;
    struct qb_disk_bitmap d;
    struct qb_bitmap b;
    uint16_t name_len;

    if (room < sizeof(d))
        return BROKEN("the bitmap directory is too short");
    memcpy(&d, raw, sizeof(d));
    name_len = be16_get(d.name_size);
    len = sizeof(d) + (uint64_t)be32_get(d.extra_data_size) + name_len;
    if (qb_round_up(len, 8) > room)
        return BROKEN("the bitmap directory is too short");
    b = (struct qb_bitmap){
        .table_offset = be64_get(d.table_offset),
        .table_size = be32_get(d.table_size),
        .flags = be32_get(d.flags),
        .granularity_bits = d.granularity_bits,
        .extra_len = be32_get(d.extra_data_size),
        .extra = raw + sizeof(d),
        .name = r->name,
    };
    memcpy(r->name, raw + len - name_len, name_len);
    r->name[name_len] = '\0';
    if (name_len == 0 || name_len > QB_BITMAP_NAME_MAX || strlen(b.name) != name_len)
        return BROKEN("a bitmap has a name of %u bytes, or one with a NUL inside", name_len);
    r->name += name_len + 1;
    if (check_entry(r, &d, &b, err) < 0)
        return -1;
    r->at = qb_round_up(r->at + len, 8);
    return qb_vec_push(&r->out->list, b) ? 0 : qb_fail_memory(err);
}

static int by_name(const void *a, const void *b)
{
    const struct qb_bitmap *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Which of two of one name is meant, nobody can tell. */
static int check_names(struct reader *r, struct qb_err *err)
{
    size_t n = r->out->list.n;
    QB_AUTO(qb_buf) struct qb_bitmap **sorted = calloc(n + 1, sizeof(*sorted));

    if (!sorted)
        return qb_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &r->out->list.items[i];
    qsort(sorted, n, sizeof(*sorted), by_name);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) != 0)
            continue;
        odd(r, r->offset, "two bitmaps have the name \"%.80s\"", sorted[i]->name);
        sorted[i - 1]->odd = sorted[i]->odd = true;
    }
    return 0;
}

/* Whether the directory may be read into memory; its length and number are those that
 * qb_header_agrees() let pass. */
static int check_memory(const struct reader *r, uint32_t n, uint64_t memory_limit,
                        struct qb_err *err)
{
    if (2 * r->out->len + 2ull * n * sizeof(struct qb_bitmap) > memory_limit)
        return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                       "the directory of %u bitmaps takes more than %llu KiB", n,
                       (unsigned long long)(memory_limit >> 10));
    return 0;
}

static int read_entries(struct reader *r, struct qb_io *io, uint32_t n, struct qb_err *err)
{
    struct qb_bitmaps *out = r->out;

    out->bytes = malloc(out->len + 1);
    r->name = out->names = malloc(out->len + 1); /* an entry has room for more than a NUL */
    if (!out->bytes || !out->names)
        return qb_fail_memory(err);
    if (qb_io_read(io, r->img->file, r->offset, out->bytes, out->len, "the bitmap directory", err) <
        0)
        return -1;
    while (out->list.n < n && !out->broken)
        if ((out->list.n % 1024 == 0 && qb_io_go_on(io, err) < 0) || take_entry(r, err) < 0)
            return -1;
    if (!out->broken && r->at < out->len)
        BROKEN("the bitmap directory has more than its %u bitmaps", n);
    return check_names(r, err);
}

int qb_bitmaps_read_any(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                        struct qb_bitmaps *out, struct qb_err *err)
{
    struct reader reader = {.img = img, .out = out}, *r = &reader;
    struct qb_disk_bitmaps_ext ext = {.nb_bitmaps = {{0}}};
    uint32_t n;

    *out = (struct qb_bitmaps){.bytes = NULL};
    qb_image_has_bitmaps(img, &ext);
    n = be32_get(ext.nb_bitmaps);
    r->offset = be64_get(ext.directory_offset);
    out->len = be64_get(ext.directory_size);
    if (!qb_range_ok(r->offset, out->len, 1, img->file->size))
        return BROKEN("the directory of %u bitmaps cannot be where the header says", n);
    return check_memory(r, n, memory_limit, err) < 0 ? -1 : read_entries(r, io, n, err);
}

int qb_bitmaps_read(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                    struct qb_bitmaps *out, struct qb_err *err)
{
    if (qb_bitmaps_read_any(io, img, memory_limit, out, err) < 0)
        return -1;
    if (!out->odd.code)
        return 0;
    *err = out->odd;
    return -1;
}
