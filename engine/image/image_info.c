/* The facts of an open image, as reports have them. */
#include <string.h>

#include "image/image.h"

bool qb_image_has_bitmaps(const struct qb_image *img, struct qb_disk_bitmaps_ext *ext)
{
    const struct qb_ext *e = qb_ext_find(&img->exts, QB_EXT_BITMAPS);

    if (!e || img->odd_bitmaps.code || e->len < sizeof(*ext) ||
        !(img->header.autoclear & QB_AUTOCLEAR_BITMAPS))
        return false;
    memcpy(ext, e->data, sizeof(*ext));
    return true;
}

void qb_image_info(const struct qb_image *img, struct qb_info *info)
{
    const struct qb_header *h = &img->header;
    struct qb_disk_bitmaps_ext bitmaps;

    if (img->raw) {
        *info = (struct qb_info){
            .format = "raw",
            .virtual_size = qb_round_up(img->file->is_block_device ? img->file->size : img->raw_end,
                                        QB_SECTOR)};
        return;
    }
    *info = (struct qb_info){
        .format = "qcow2",
        .version = h->version,
        .virtual_size = h->size,
        .cluster_size = img->geom.cluster_size,
        .refcount_bits = 1u << h->refcount_order,
        .nb_snapshots = h->nb_snapshots,
        .crypt_method = h->crypt_method,
        .lazy_refcounts = h->compatible & QB_COMPAT_LAZY_REFCOUNTS,
        .dirty = h->incompatible & QB_INCOMPAT_DIRTY,
        .corrupt = h->incompatible & QB_INCOMPAT_CORRUPT,
        .extended_l2 = h->incompatible & QB_INCOMPAT_EXTENDED_L2,
        .zstd = h->compression_type == 1,
        .compression_type = qb_image_compression(h),
        .external_data_file = h->incompatible & QB_INCOMPAT_DATA_FILE,
        .data_file_raw = h->autoclear & QB_AUTOCLEAR_DATA_FILE_RAW,
        .data_file = img->data_name,
        .has_backing_file = h->backing_offset != 0,
        .backing_file = img->backing_name,
        .backing_fmt = img->backing_fmt,
    };
    if (qb_image_has_bitmaps(img, &bitmaps))
        info->nb_bitmaps = be32_get(bitmaps.nb_bitmaps);
}
