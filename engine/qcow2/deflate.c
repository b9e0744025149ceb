#include "qcow2/deflate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int qb_inflate(const void *in, size_t in_len, void *out, size_t out_len, struct qb_err *err)
{
    z_stream z;
    int r;

    memset(&z, 0, sizeof(z));
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)in_len;
    z.next_out = out;
    z.avail_out = (uInt)out_len;
    if (inflateInit2(&z, -12) != Z_OK)
        return qb_fail_memory(err);
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* A full output buffer is success even when the end marker was not reached. */
    if (z.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK))
        return 0;
    return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "a compressed cluster does not decompress");
}

struct qb_deflater {
    z_stream z;
};

struct qb_deflater *qb_deflater_new(void)
{
    struct qb_deflater *d = calloc(1, sizeof(*d));

    if (d &&
        deflateInit2(&d->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK)
        return d;
    free(d);
    return NULL;
}

void qb_deflater_free(struct qb_deflater *d)
{
    if (d)
        deflateEnd(&d->z);
    free(d);
}

size_t qb_deflate(struct qb_deflater *d, const void *in, size_t len, void *out, size_t room)
{
    deflateReset(&d->z);
    d->z.next_in = (Bytef *)(uintptr_t)in;
    d->z.avail_in = (uInt)len;
    d->z.next_out = out;
    d->z.avail_out = (uInt)room;
    return deflate(&d->z, Z_FINISH) == Z_STREAM_END ? room - d->z.avail_out : 0;
}

const char *qb_deflate_version(void)
{
    return zlibVersion();
}
