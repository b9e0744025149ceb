/* The header's fixed part: whatever decodes is in range, and is the same when written and decoded
 * again. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "qcow2/header.h"

static void check_ranges(const struct qb_header *h)
{
    struct qb_geom g;

    qb_header_geom(h, &g);
    FUZZ_HOLDS(h->version == 2 || h->version == 3, "version %u", h->version);
    FUZZ_HOLDS(h->cluster_bits >= 9 && h->cluster_bits <= 21, "cluster_bits %u", h->cluster_bits);
    FUZZ_HOLDS(h->refcount_order <= 6, "refcount_order %u", h->refcount_order);
    FUZZ_HOLDS(qb_range_ok(h->backing_offset, h->backing_len, 1, g.cluster_size) ||
                   !h->backing_offset,
               "the backing name leaves the first cluster");
    FUZZ_HOLDS(h->l1_size >= qb_geom_l1_needed(&g, h->size), "l1_size is too small");
    FUZZ_HOLDS(8ull * h->l1_size <= QB_MAX_L1_BYTES, "l1_size is too large");
    FUZZ_HOLDS(h->reftable_clusters * g.cluster_size <= QB_MAX_REFTABLE_BYTES, "reftable");
    FUZZ_HOLDS(h->header_length <= g.cluster_size, "header_length");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t *bytes = fuzz_copy_rest(&in);
    struct qb_header h, again;
    struct qb_err err;

    if (qb_header_decode(bytes, size, &h, &err) == 0) {
        uint8_t sector[QB_SECTOR] = {0}, once_more[QB_SECTOR] = {0};

        check_ranges(&h);
        qb_header_encode(&h, sector);
        FUZZ_HOLDS(qb_header_decode(sector, sizeof(sector), &again, &err) == 0,
                   "what was written does not decode: %s", err.text);
        qb_header_encode(&again, once_more);
        FUZZ_HOLDS(memcmp(sector, once_more, QB_SECTOR) == 0,
                   "the header changes when it is written");
        if (size > 112)
            (void)qb_header_check_features(&h, bytes + 112, size - 112, &err);
    }
    free(bytes);
    return 0;
}
