/* Decompresses clusters for the independent reading of an image. */
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "reading.h"

static bool unzstd(const uint8_t *in, uint64_t len, uint8_t *out, uint64_t cluster)
{
    uint64_t frame = ZSTD_findFrameCompressedSize(in, len);

    return !ZSTD_isError(frame) && ZSTD_decompress(out, cluster, in, frame) == cluster;
}

bool reading_decompress(bool zstd, const uint8_t *in, uint64_t len, uint8_t *out, uint64_t cluster)
{
    z_stream z = {0};
    int r;

    if (zstd)
        return unzstd(in, len, out, cluster);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)cluster;
    if (inflateInit2(&z, -12) != Z_OK)
        abort();
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return r == Z_STREAM_END && !z.avail_out;
}
