#include "qcow2/zstd.h"

#include <stdlib.h>
#include <zstd.h>

struct qb_zstd {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
};

struct qb_zstd *qb_zstd_new(void)
{
    struct qb_zstd *z = calloc(1, sizeof(*z));

    if (!z)
        return NULL;
    z->c = ZSTD_createCCtx();
    z->d = ZSTD_createDCtx();
    if (z->c && z->d)
        return z;
    qb_zstd_free(z);
    return NULL;
}

void qb_zstd_free(struct qb_zstd *z)
{
    if (!z)
        return;
    ZSTD_freeCCtx(z->c);
    ZSTD_freeDCtx(z->d);
    free(z);
}

size_t qb_zstd_compress(struct qb_zstd *z, const void *in, size_t len, void *out, size_t room)
{
    size_t n = ZSTD_compress2(z->c, out, room, in, len);

    return ZSTD_isError(n) ? 0 : n;
}

int qb_zstd_decompress(struct qb_zstd *z, const void *in, size_t in_len, void *out, size_t out_len,
                       struct qb_err *err)
{
    ZSTD_inBuffer from = {in, in_len, 0};
    ZSTD_outBuffer to = {out, out_len, 0};
    size_t left = 1;

    ZSTD_DCtx_reset(z->d, ZSTD_reset_session_only);
    while (to.pos < to.size) {
        size_t was_in = from.pos, was_out = to.pos;

        left = ZSTD_decompressStream(z->d, &to, &from);
        if (ZSTD_isError(left) || (from.pos == was_in && to.pos == was_out))
            break;
    }
    /* A frame that would go on is more than a cluster: QEMU refuses it, too. */
    if (to.pos == to.size && left == 0)
        return 0;
    return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "a compressed cluster does not decompress");
}

const char *qb_zstd_version(void)
{
    return ZSTD_versionString();
}
