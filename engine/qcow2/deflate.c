#include "qcow2/deflate.h"

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

const char *qb_deflate_version(void)
{
    return zlibVersion();
}
