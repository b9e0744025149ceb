/* Compressed clusters: any bytes either fill the cluster or are refused. */
#include <stdlib.h>

#include "fuzz.h"
#include "qcow2/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t out_len = (size_t)512 << fuzz_take(&in, 1) % 13;
    enum qb_compression type = fuzz_take(&in, 1) % 2 ? QB_ZSTD : QB_ZLIB;
    uint8_t *bytes = fuzz_copy_rest(&in), *out = malloc(out_len);
    struct qb_err err = {.code = QB_E_NONE};

    FUZZ_HOLDS(out, "out of memory");
    if (qb_decompress(type, bytes, in.left, out, out_len, &err) < 0)
        FUZZ_HOLDS(err.code == QB_E_CORRUPT, "refused as %s", qb_code_name(err.code));
    free(bytes);
    free(out);
    return 0;
}
