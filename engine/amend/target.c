#include "amend/target.h"

#include <stdio.h>
#include <string.h>

#define REFUSE(...) qb_fail(err, QB_E_REFUSED, QB_NOWHERE, __VA_ARGS__)
#define CANNOT(...) qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, __VA_ARGS__)

static bool asked(const struct qb_request *rq, enum qb_key key)
{
    return rq->set & (unsigned)key;
}

static const char *text_of(const char *s)
{
    return s ? s : "";
}

/* Keys of qemu-img that fix how an image was made: naming what it has is no change. */
static int check_fixed(const struct qb_image *img, const struct qb_request *rq, struct qb_err *err)
{
    const struct qb_header *h = &img->header;
    const char *type = h->compression_type ? "zstd" : "zlib";

    if (asked(rq, QB_KEY_PREALLOCATION) && strcmp(text_of(rq->preallocation), "off") != 0)
        return REFUSE("preallocation cannot be changed by an amend");
    if (asked(rq, QB_KEY_ENCRYPTION) && rq->encryption != (h->crypt_method != 0))
        return REFUSE("encryption cannot be changed by an amend: the image is %sencrypted",
                      h->crypt_method ? "" : "not ");
    if (asked(rq, QB_KEY_CLUSTER_SIZE) && rq->cluster_size != img->geom.cluster_size)
        return REFUSE("cluster_size cannot be changed by an amend: the image has %llu",
                      (unsigned long long)img->geom.cluster_size);
    if (asked(rq, QB_KEY_COMPRESSION_TYPE) && strcmp(text_of(rq->compression_type), type) != 0)
        return REFUSE("compression_type cannot be changed by an amend: the image has %s", type);
    if (asked(rq, QB_KEY_EXTENDED_L2) && rq->extended_l2 != (img->geom.l2_entry_size == 16))
        return REFUSE("extended_l2 cannot be changed by an amend");
    return 0;
}

static int check_data_file(const struct qb_image *img, const struct qb_request *rq,
                           struct qb_err *err)
{
    const struct qb_ext *e = qb_ext_find(&img->exts, QB_EXT_DATA_FILE);
    const char *want = text_of(rq->data_file);
    bool same = e ? strlen(want) == e->len && memcmp(want, e->data, e->len) == 0 : !want[0];

    if (asked(rq, QB_KEY_DATA_FILE) && !same)
        return CANNOT("changing data_file is not supported yet");
    if (asked(rq, QB_KEY_DATA_FILE_RAW) &&
        rq->data_file_raw != !!(img->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW))
        return REFUSE("data_file_raw cannot be changed by an amend");
    return 0;
}

static int resolve_compat(const struct qb_image *img, const struct qb_request *rq,
                          struct qb_target *t, struct qb_err *err)
{
    struct qb_header *h = &t->header;

    if (!asked(rq, QB_KEY_COMPAT) || rq->compat == h->version)
        return 0;
    if (rq->compat != 2 && rq->compat != 3)
        return REFUSE("unknown compatibility level %u", rq->compat);
    h->version = rq->compat;
    t->upgrade = h->version == 3;
    t->downgrade = h->version == 2;
    if (t->upgrade)
        return 0;
    if (img->geom.external_data)
        return CANNOT("compat=0.10 knows no external data file");
    if (img->geom.l2_entry_size != 8)
        return CANNOT("compat=0.10 knows no extended L2 entries");
    h->incompatible &= ~QB_INCOMPAT_COMPRESSION; /* the plan looks for compressed clusters */
    h->compression_type = 0;
    h->compatible = h->autoclear = 0;
    return 0;
}

static int resolve_bitmaps(const struct qb_image *img, const struct qb_request *rq,
                           struct qb_target *t, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;

    if (!t->downgrade || !qb_image_has_bitmaps(img, &ext))
        return 0;
    if (!rq->drop_bitmaps)
        return REFUSE(
            "compat=0.10 knows no persistent bitmaps, and the image has %u; policy.drop_bitmaps "
            "allows to drop them",
            be32_get(ext.nb_bitmaps));
    t->drop_bitmaps = true;
    return 0;
}

static int resolve_refcounts(const struct qb_request *rq, struct qb_target *t, struct qb_err *err)
{
    struct qb_header *h = &t->header;
    unsigned order = 0;

    if (asked(rq, QB_KEY_REFCOUNT_BITS)) {
        while (order < 6 && 1ull << order < rq->refcount_bits)
            order++;
        if (1ull << order != rq->refcount_bits)
            return REFUSE("refcount_bits=%llu is no power of two up to 64",
                          (unsigned long long)rq->refcount_bits);
        t->new_width = order != h->refcount_order;
        h->refcount_order = order;
    }
    if (h->version == 2 && h->refcount_order != 4)
        return REFUSE("compat=0.10 needs refcounts of 16 bits, not %u; add refcount_bits=16",
                      1u << h->refcount_order);
    if (!asked(rq, QB_KEY_LAZY_REFCOUNTS))
        return 0;
    if (rq->lazy_refcounts && h->version == 2)
        return REFUSE("lazy_refcounts needs compat=1.1");
    if (rq->lazy_refcounts)
        h->compatible |= QB_COMPAT_LAZY_REFCOUNTS;
    else
        h->compatible &= ~QB_COMPAT_LAZY_REFCOUNTS;
    return 0;
}

static int check_resize(const struct qb_image *img, const struct qb_request *rq,
                        const struct qb_target *t, struct qb_err *err)
{
    const struct qb_header *old = &img->header, *h = &t->header;
    struct qb_disk_bitmaps_ext bitmaps;

    if (h->size == 0)
        return REFUSE("the new size is 0: a disk of no bytes is no use (qemu-img amend takes size=0 "
                      "for \"not given\")");
    if (h->size % QB_SECTOR)
        return REFUSE("the new size %llu is not a multiple of 512", (unsigned long long)h->size);
    if (h->size > INT64_MAX - img->geom.l1_span ||
        qb_geom_l1_needed(&img->geom, h->size) > QB_MAX_L1_BYTES / 8)
        return REFUSE("the new size %llu is too large for clusters of %llu bytes",
                      (unsigned long long)h->size, (unsigned long long)img->geom.cluster_size);
    if (h->size < old->size && !rq->allow_shrink)
        return REFUSE(
            "shrinking from %llu to %llu bytes is not allowed (policy.allow_shrink, --shrink)",
            (unsigned long long)old->size, (unsigned long long)h->size);
    if (old->nb_snapshots && h->version == 2)
        return REFUSE("version 2 cannot resize an image that has snapshots; add compat=1.1");
    if (img->geom.external_data)
        return CANNOT("resizing an image with an external data file is not supported yet");
    if (h->size < old->size && qb_image_has_bitmaps(img, &bitmaps))
        return CANNOT("shrinking an image with persistent bitmaps is not supported yet");
    return 0;
}

static int resolve_size(const struct qb_image *img, const struct qb_request *rq,
                        struct qb_target *t, struct qb_err *err)
{
    uint64_t size = rq->size;

    if (!asked(rq, QB_KEY_SIZE))
        return 0;
    if (rq->size_is_delta && __builtin_add_overflow(rq->size, img->header.size, &size))
        return REFUSE("the new size is above 2^64");
    if (size == img->header.size || (rq->size_at_least && size < img->header.size))
        return 0;
    t->resize = true;
    t->header.size = size;
    return check_resize(img, rq, t, err);
}

static int resolve_backing(const struct qb_image *img, const struct qb_request *rq,
                           struct qb_target *t, struct qb_err *err)
{
    const char *name =
        asked(rq, QB_KEY_BACKING_FILE) ? text_of(rq->backing_file) : img->backing_name;
    const char *fmt = asked(rq, QB_KEY_BACKING_FMT) ? text_of(rq->backing_fmt) : img->backing_fmt;

    if (!name[0] && !asked(rq, QB_KEY_BACKING_FMT))
        fmt = "";
    if (!name[0] && fmt[0])
        return REFUSE("backing_fmt=%s without a backing file", fmt);
    if (strlen(name) > QB_MAX_BACKING_NAME)
        return REFUSE("the backing file's name is longer than %u bytes", QB_MAX_BACKING_NAME);
    if (strlen(fmt) > QB_MAX_BACKING_FMT && strcmp(fmt, img->backing_fmt) != 0)
        return REFUSE("the backing format's name is longer than %u bytes", QB_MAX_BACKING_FMT);
    if (name[0] && (img->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW))
        return REFUSE("an image with a raw external data file can have no backing file");
    t->backing_name = name;
    t->backing_fmt = fmt;
    t->name_changes = strcmp(name, img->backing_name) != 0;
    t->fmt_changes = strcmp(fmt, img->backing_fmt) != 0;
    return 0;
}

int qb_target_resolve(const struct qb_image *img, const struct qb_request *rq,
                      struct qb_target *out, struct qb_err *err)
{
    struct qb_target t = {.header = img->header};

    if (img->header.incompatible & QB_INCOMPAT_CORRUPT)
        return qb_fail(err, QB_E_CORRUPT, offsetof(struct qb_disk_header, incompatible),
                       "the image is marked corrupt");
    if (check_fixed(img, rq, err) < 0 || check_data_file(img, rq, err) < 0 ||
        resolve_compat(img, rq, &t, err) < 0 || resolve_bitmaps(img, rq, &t, err) < 0 ||
        resolve_refcounts(rq, &t, err) < 0 || resolve_size(img, rq, &t, err) < 0 ||
        resolve_backing(img, rq, &t, err) < 0)
        return -1;
    if (img->header.incompatible & QB_INCOMPAT_DIRTY) {
        if (rq->fail_if_dirty)
            return qb_fail(err, QB_E_DIRTY, QB_NOWHERE,
                           "the image was not closed properly (dirty bit)");
        t.repair = true;
        t.header.incompatible &= ~QB_INCOMPAT_DIRTY;
    }
    t.unkeep = rq->free_kept;
    t.any = t.unkeep || t.upgrade || t.downgrade || t.resize || t.new_width || t.repair ||
            t.name_changes || t.fmt_changes || t.header.compatible != img->header.compatible;
    t.header.autoclear &= QB_AUTOCLEAR_KNOWN;
    *out = t;
    return 0;
}

int qb_target_check_snapshots(const struct qb_image *img, const struct qb_target *t,
                              struct qb_err *err)
{
    if (!t->downgrade)
        return 0;
    for (size_t i = 0; i < img->snapshots.list.n; i++) {
        const struct qb_snapshot *s = &img->snapshots.list.items[i];
        const char *id = (const char *)s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;
        const char *name = s->name_len ? id + s->id_len : id;
        int len = s->name_len ? s->name_len : s->id_len;

        if (s->disk_size != img->header.size)
            return REFUSE(
                "version 2 cannot describe snapshot \"%.*s\": its disk has %llu bytes, not %llu",
                len, name, (unsigned long long)s->disk_size, (unsigned long long)img->header.size);
        if (s->vm_state_size > UINT32_MAX)
            return REFUSE(
                "version 2 cannot describe snapshot \"%.*s\": its VM state has %llu bytes", len,
                name, (unsigned long long)s->vm_state_size);
    }
    return 0;
}

void qb_target_info(const struct qb_image *img, const struct qb_target *t, struct qb_info *info)
{
    const struct qb_header *h = &t->header;

    qb_image_info(img, info);
    info->version = h->version;
    info->virtual_size = h->size;
    info->refcount_bits = 1u << h->refcount_order;
    info->lazy_refcounts = h->compatible & QB_COMPAT_LAZY_REFCOUNTS;
    info->dirty = h->incompatible & QB_INCOMPAT_DIRTY;
    info->zstd = h->compression_type == 1;
    info->nb_bitmaps = t->drop_bitmaps ? 0 : info->nb_bitmaps;
    info->has_backing_file = t->backing_name[0];
    info->backing_file = t->backing_name;
    info->backing_fmt = t->backing_fmt;
}
