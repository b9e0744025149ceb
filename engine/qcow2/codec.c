#include "qcow2/codec.h"

#include <stdlib.h>

#include "qcow2/deflate.h"
#include "qcow2/zstd.h"

struct qb_codec {
    struct qb_deflater *deflater; /* one of the two */
    struct qb_zstd *zstd;
};

struct qb_codec *qb_codec_new(enum qb_compression type)
{
    struct qb_codec *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    if (type == QB_ZSTD)
        c->zstd = qb_zstd_new();
    else
        c->deflater = qb_deflater_new();
    if (c->zstd || c->deflater)
        return c;
    free(c);
    return NULL;
}

void qb_codec_free(struct qb_codec *c)
{
    if (c) {
        qb_zstd_free(c->zstd);
        qb_deflater_free(c->deflater);
    }
    free(c);
}

size_t qb_codec_compress(struct qb_codec *c, const void *in, size_t len, void *out, size_t room)
{
    return c->zstd ? qb_zstd_compress(c->zstd, in, len, out, room)
                   : qb_deflate(c->deflater, in, len, out, room);
}

int qb_codec_decompress(struct qb_codec *c, const void *in, size_t in_len, void *out,
                        size_t out_len, struct qb_err *err)
{
    return c->zstd ? qb_zstd_decompress(c->zstd, in, in_len, out, out_len, err)
                   : qb_inflate(in, in_len, out, out_len, err);
}

int qb_decompress(enum qb_compression type, const void *in, size_t in_len, void *out,
                  size_t out_len, struct qb_err *err)
{
    struct qb_codec *c = qb_codec_new(type);
    int r = c ? qb_codec_decompress(c, in, in_len, out, out_len, err) : qb_fail_memory(err);

    qb_codec_free(c);
    return r;
}
