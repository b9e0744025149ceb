#include "base/result.h"

#include <stdlib.h>
#include <string.h>

/* A block that is filled from its beginning.  While `bytes` is NULL only its size is computed. */
struct block {
    char *bytes;
    size_t used;
};

static const void *put(struct block *b, const void *from, size_t size, size_t align)
{
    size_t at = (b->used + align - 1) / align * align;

    if (!from)
        return NULL;
    b->used = at + size;
    return b->bytes ? memcpy(b->bytes + at, from, size) : NULL;
}

static const char *put_text(struct block *b, const char *text)
{
    return put(b, text, text ? strlen(text) + 1 : 0, 1);
}

static const struct qb_info *put_info(struct block *b, const struct qb_info *from)
{
    struct qb_info *info = (struct qb_info *)put(b, from, sizeof(*from), _Alignof(struct qb_info));
    const char *file = put_text(b, from ? from->backing_file : NULL);
    const char *fmt = put_text(b, from ? from->backing_fmt : NULL);
    const char *type = put_text(b, from ? from->compression_type : NULL);

    const char *data = put_text(b, from ? from->data_file : NULL);
    const char *format = put_text(b, from ? from->format : NULL);

    if (info) {
        info->data_file = data;
        info->format = format;
        info->backing_file = file;
        info->backing_fmt = fmt;
        info->compression_type = type;
    }
    return info;
}

static const struct qb_deleted_snapshot *put_snapshots(struct block *b,
                                                       const struct qb_result *from)
{
    const struct qb_deleted_snapshot *s = from->snapshots_deleted;
    struct qb_deleted_snapshot *list = (struct qb_deleted_snapshot *)put(
        b, s, from->n_snapshots_listed * sizeof(*s), _Alignof(struct qb_deleted_snapshot));

    for (unsigned i = 0; s && i < from->n_snapshots_listed; i++) {
        const char *id = put_text(b, s[i].id), *name = put_text(b, s[i].name);

        if (list) {
            list[i].id = id;
            list[i].name = name;
        }
    }
    return list;
}

static const struct qb_changed_bitmap *put_bitmaps(struct block *b, const struct qb_result *from)
{
    const struct qb_changed_bitmap *s = from->bitmaps_changed;
    struct qb_changed_bitmap *list = (struct qb_changed_bitmap *)put(
        b, s, from->n_bitmaps_listed * sizeof(*s), _Alignof(struct qb_changed_bitmap));

    for (unsigned i = 0; s && i < from->n_bitmaps_listed; i++) {
        const char *name = put_text(b, s[i].name), *old = put_text(b, s[i].from);

        if (list) {
            list[i].name = name;
            list[i].from = old;
        }
    }
    return list;
}

/* Copies what *from points to; *to then points to the copies. */
static void put_all(struct block *b, const struct qb_result *from, struct qb_result *to)
{
    to->before = put_info(b, from->before);
    to->after = from->after == from->before ? to->before : put_info(b, from->after);
    to->err.text = put_text(b, from->err.code == QB_E_NONE ? NULL : from->err.text);
    to->old_sector = put(b, from->old_sector, QB_RESULT_SECTOR, 1);
    to->new_sector = put(b, from->new_sector, QB_RESULT_SECTOR, 1);
    to->snapshots_deleted = put_snapshots(b, from);
    to->freed_first = (const struct qb_freed_range *)put(
        b, from->freed_first, from->n_freed_listed * sizeof(*from->freed_first),
        _Alignof(struct qb_freed_range));
    to->bitmaps_changed = put_bitmaps(b, from);
}

void qb_result_own(struct qb_result *r)
{
    struct qb_result owned = *r;
    struct block b = {NULL, 0};

    put_all(&b, r, &owned); /* measures, and leaves no pointer */
    owned.memory = b.bytes = b.used ? malloc(b.used) : NULL;
    b.used = 0;
    if (owned.memory)
        put_all(&b, r, &owned);
    else if (r->err.code != QB_E_NONE)
        owned.err.text = "there was no memory to keep what went wrong";
    if (!owned.snapshots_deleted)
        owned.n_snapshots_listed = 0;
    if (!owned.freed_first)
        owned.n_freed_listed = 0;
    if (!owned.bitmaps_changed)
        owned.n_bitmaps_listed = 0;
    free(r->memory);
    *r = owned;
}

void qb_result_fail(struct qb_result *r, const struct qb_err *err)
{
    r->err = qb_failure_of(err);
    qb_result_own(r);
}

void qb_result_clear(struct qb_result *r)
{
    free(r->memory);
    *r = (struct qb_result){.status = r->status};
}
