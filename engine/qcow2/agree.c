#include "qcow2/agree.h"

#include <string.h>

static int check_luks(const struct qb_header *h, const struct qb_ext *e, struct qb_err *err)
{
    struct qb_disk_luks_ext d;

    if (h->crypt_method != QB_CRYPT_LUKS)
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                       "there is a pointer to a LUKS header, and the encryption method is %s",
                       h->crypt_method == QB_CRYPT_AES ? "AES" : "none");
    if (e->len != sizeof(d))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                       "the pointer to the LUKS header has %u bytes instead of %zu", e->len,
                       sizeof(d));
    memcpy(&d, e->data, sizeof(d));
    if (be64_get(d.offset) % (UINT64_C(1) << h->cluster_bits))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                       "the LUKS header's offset 0x%llx is not cluster aligned",
                       (unsigned long long)be64_get(d.offset));
    return 0;
}

static int check_bitmaps(const struct qb_header *h, const struct qb_ext *e, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext d;
    uint64_t offset;
    uint32_t n;

    if (e->len != sizeof(d))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                       "the bitmaps extension has %u bytes instead of %zu", e->len, sizeof(d));
    if (!(h->autoclear & QB_AUTOCLEAR_BITMAPS)) /* out of date: QEMU looks no further */
        return 0;
    memcpy(&d, e->data, sizeof(d));
    n = be32_get(d.nb_bitmaps);
    offset = be64_get(d.directory_offset);
    if (be32_get(d.reserved))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                       "the reserved field of the bitmaps extension is %u, not 0",
                       be32_get(d.reserved));
    if (n == 0 || n > QB_MAX_BITMAPS || offset == 0 || offset % (UINT64_C(1) << h->cluster_bits) ||
        be64_get(d.directory_size) > QB_MAX_BITMAP_DIRECTORY)
        return qb_fail(err, QB_E_CORRUPT, offset,
                       "the directory of %u bitmaps cannot be where the header says", n);
    return 0;
}

int qb_header_bitmaps_agree(const struct qb_header *h, const qb_ext_list *exts, struct qb_err *err)
{
    qb_vec_each (e, exts)
        if (e->type == QB_EXT_BITMAPS && check_bitmaps(h, e, err) < 0)
            return -1;
    return 0;
}

int qb_header_agrees(const struct qb_header *h, const qb_ext_list *exts, struct qb_err *err)
{
    bool luks = false;
    int r = 0;

    if ((h->autoclear & QB_AUTOCLEAR_DATA_FILE_RAW) && !(h->incompatible & QB_INCOMPAT_DATA_FILE))
        return qb_fail(err, QB_E_CORRUPT, offsetof(struct qb_disk_header, autoclear),
                       "the external data file is said to be raw, and there is none");
    for (size_t i = 0; r == 0 && i < exts->n; i++) {
        const struct qb_ext *e = &exts->items[i];

        luks = luks || e->type == QB_EXT_LUKS;
        if (e->type == QB_EXT_LUKS)
            r = check_luks(h, e, err);
    }
    if (r == 0 && h->crypt_method == QB_CRYPT_LUKS && !luks)
        r = qb_fail(err, QB_E_CORRUPT, offsetof(struct qb_disk_header, crypt_method),
                    "the encryption method is LUKS, and nothing points to a LUKS header");
    return r;
}
