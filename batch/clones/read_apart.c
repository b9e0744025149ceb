#include "clones/read_apart.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "opener/confine.h"
#include "opener/helper.h"
#include "image/image.h"

enum { NAME_BYTES = PATH_MAX, FORMAT_BYTES = 64 };

/* An image, as it is told. */
struct told {
    uint32_t is_image;
    uint32_t code; /* if it is none */
    int32_t sys_errno;
    uint64_t offset;
    char error[sizeof(((struct qb_err *)0)->text)];
    uint64_t virtual_size, cluster_size;
    uint32_t version, refcount_bits, nb_snapshots, nb_bitmaps, crypt_method;
    uint32_t lazy_refcounts, dirty, corrupt, extended_l2, zstd, external_data_file, data_file_raw,
        has_backing_file;
    char backing_file[NAME_BYTES], backing_fmt[FORMAT_BYTES], data_file[NAME_BYTES];
};

_Static_assert(sizeof(struct told) * QB_APART_MAX <= QB_PARCEL_BYTES, "it fits");

/* ---- in that process ------------------------------------------------------------------------- */

struct reading {
    struct qb_file *const *files;
    size_t n;
};

static bool put_text(char *out, size_t size, const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (len >= size)
        return false;
    memcpy(out, text ? text : "", len + 1);
    return true;
}

static void put_error(struct told *t, const struct qb_err *err)
{
    t->is_image = 0;
    t->code = err->code;
    t->sys_errno = err->sys_errno;
    t->offset = err->offset;
    put_text(t->error, sizeof(t->error), err->text);
}

static void put_info(struct told *t, const struct qb_info *i)
{
    struct qb_err err;

    t->is_image = 1;
    t->virtual_size = i->virtual_size;
    t->cluster_size = i->cluster_size;
    t->version = i->version;
    t->refcount_bits = i->refcount_bits;
    t->nb_snapshots = i->nb_snapshots;
    t->nb_bitmaps = i->nb_bitmaps;
    t->crypt_method = i->crypt_method;
    t->lazy_refcounts = i->lazy_refcounts;
    t->dirty = i->dirty;
    t->corrupt = i->corrupt;
    t->extended_l2 = i->extended_l2;
    t->zstd = i->zstd;
    t->external_data_file = i->external_data_file;
    t->data_file_raw = i->data_file_raw;
    t->has_backing_file = i->has_backing_file;
    if (put_text(t->backing_file, NAME_BYTES, i->backing_file) &&
        put_text(t->backing_fmt, FORMAT_BYTES, i->backing_fmt) &&
        put_text(t->data_file, NAME_BYTES, i->data_file))
        return;
    qb_fail(&err, QB_E_UNSUPPORTED, QB_NOWHERE, "a name in the header is longer than any path");
    put_error(t, &err);
}

static void read_one(struct qb_io *io, struct qb_file *file, struct told *t)
{
    struct qb_image img;
    struct qb_info info;
    struct qb_err err;

    if (qb_image_open(io, file, &img, &err) < 0) {
        put_error(t, &err);
        return;
    }
    qb_image_info(&img, &info);
    put_info(t, &info);
    qb_image_close(&img);
}

/* There is one thread, and no path that it needs. */
static void give_up_rights(void)
{
    struct qb_confinement own = {0};

    qb_confine_output();
    qb_confine_thread(&own);
    qb_confine_process(&own, true);
}

static void on_read(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct reading *r = arg;
    struct told *told = (struct told *)answer->bytes;
    struct qb_io *io = NULL;

    (void)request;
    if (qb_io_open(QB_IO_POSIX, &io, NULL, NULL) < 0)
        return;
    give_up_rights();
    memset(told, 0, r->n * sizeof(*told));
    for (size_t i = 0; i < r->n; i++)
        read_one(io, r->files[i], &told[i]);
    qb_io_close(io);
    answer->len = r->n * sizeof(*told);
}

/* ---- here ------------------------------------------------------------------------------------ */

static bool is_text(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static bool take_error(const struct told *t, struct qb_apart *out)
{
    if (t->code == QB_E_NONE || t->code >= QB_E_COUNT || !is_text(t->error, sizeof(t->error)))
        return false;
    out->err = (struct qb_err){
        .code = (enum qb_code)t->code, .sys_errno = t->sys_errno, .offset = t->offset};
    memcpy(out->err.text, t->error, sizeof(t->error));
    return true;
}

static bool is_possible(const struct told *t)
{
    return (t->version == 2 || t->version == 3) && t->refcount_bits >= 1 &&
           t->refcount_bits <= 64 && t->crypt_method <= 2 && is_text(t->backing_file, NAME_BYTES) &&
           is_text(t->backing_fmt, FORMAT_BYTES) && is_text(t->data_file, NAME_BYTES);
}

static bool take_one(const struct told *t, struct qb_apart *out)
{
    *out = (struct qb_apart){.is_image = t->is_image != 0};
    if (!out->is_image)
        return take_error(t, out);
    if (!is_possible(t))
        return false;
    memcpy(out->backing_file, t->backing_file, NAME_BYTES);
    memcpy(out->backing_fmt, t->backing_fmt, FORMAT_BYTES);
    memcpy(out->data_file, t->data_file, NAME_BYTES);
    out->info = (struct qb_info){.version = t->version,
                                 .virtual_size = t->virtual_size,
                                 .cluster_size = t->cluster_size,
                                 .refcount_bits = t->refcount_bits,
                                 .nb_snapshots = t->nb_snapshots,
                                 .nb_bitmaps = t->nb_bitmaps,
                                 .crypt_method = t->crypt_method,
                                 .lazy_refcounts = t->lazy_refcounts != 0,
                                 .dirty = t->dirty != 0,
                                 .corrupt = t->corrupt != 0,
                                 .extended_l2 = t->extended_l2 != 0,
                                 .zstd = t->zstd != 0,
                                 .external_data_file = t->external_data_file != 0,
                                 .data_file_raw = t->data_file_raw != 0,
                                 .has_backing_file = t->has_backing_file != 0,
                                 .backing_file = out->backing_file,
                                 .backing_fmt = out->backing_fmt,
                                 .compression_type = t->zstd ? "zstd" : "zlib",
                                 .data_file = out->data_file,
                                 .format = "qcow2"};
    return true;
}

bool qb_apart_take(const struct qb_parcel *answer, size_t n, struct qb_apart out[QB_APART_MAX])
{
    const struct told *told = (const struct told *)answer->bytes;
    bool right = n <= QB_APART_MAX && answer->len == n * sizeof(*told);

    for (size_t i = 0; right && i < n; i++)
        right = take_one(&told[i], &out[i]);
    return right;
}

int qb_read_apart(struct qb_file *const *files, size_t n, struct qb_apart out[QB_APART_MAX],
                  struct qb_err *err)
{
    struct reading reading = {files, n};
    struct qb_errands errands = {.n = 0};
    unsigned errand = qb_errands_add(&errands, on_read, &reading);
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    struct qb_helper reader;
    int r;

    if (!p)
        return qb_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        qb_errands_keep(&errands, files[i]->fd);
    if (qb_helper_start(&reader, &errands, 1, err) < 0)
        return -1;
    p->len = 0;
    r = qb_helper_ask(&reader, errand, NULL, p);
    qb_parcel_drop(p);
    qb_helper_end(&reader);
    if (r == 0 && qb_apart_take(p, n, out))
        return 0;
    return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                   "the process that reads the header has ended, or told what no image has");
}
