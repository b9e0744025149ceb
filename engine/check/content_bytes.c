/* Fingerprints single clusters by the bytes that the guest reads: those that an amend copies, and
 * so are somewhere else, and of another kind, afterwards. */
#include <string.h>

#include "check/content_parts.h"

#define AHEAD_BYTES ((uint64_t)2 << 20)

/* Reads the host bytes, and more of them each time that they are asked for one after the other. */
static int read_host(struct qb_taking *t, uint64_t offset, uint64_t len, uint8_t *to,
                     struct qb_err *err)
{
    struct qb_ahead *a = &t->ahead;
    uint64_t size = t->host->size, want;

    if (offset >= size || qb_file_is_hole(t->host, offset, QB_MIN(len, size - offset))) {
        memset(to, 0, len);
        return 0;
    }
    if (offset < a->held.first || offset + len > a->held.end) {
        want = offset == a->held.end ? QB_MIN(2 * (a->held.end - a->held.first), AHEAD_BYTES) : len;
        want = QB_MAX(want, len);
        a->held = (struct qb_range){offset, offset + want};
        want = QB_MIN(want, size - offset);
        memset(a->bytes + want, 0, a->held.end - offset - want);
        if (qb_io_read(t->io, t->host, offset, a->bytes, want, "guest data", err) < 0)
            return -1;
    }
    memcpy(to, a->bytes + (offset - a->held.first), len);
    return 0;
}

static int read_sort(struct qb_taking *t, enum qb_sub sort, uint64_t guest, uint64_t offset,
                     uint64_t len, uint8_t *to, struct qb_err *err)
{
    if (sort == QB_SUB_ALLOCATED)
        return read_host(t, offset, len, to, err);
    if (sort == QB_SUB_UNALLOCATED && t->rules->below)
        return qb_chain_read(t->io, t->rules->below, guest, len, to, err);
    memset(to, 0, len);
    return 0;
}

static int make_room(struct qb_taking *t, struct qb_err *err)
{
    uint64_t cs = t->img->geom.cluster_size;

    if (!t->ahead.bytes)
        t->ahead.bytes = malloc(QB_MAX(AHEAD_BYTES, cs));
    if (!t->cluster)
        t->cluster = malloc(cs);
    return t->ahead.bytes && t->cluster ? 0 : qb_fail_memory(err);
}

int qb_content_bytes(struct qb_taking *t, uint64_t guest, uint64_t entry, uint64_t bitmap,
                     struct qb_digest *out, bool *zero, struct qb_err *err)
{
    uint64_t cs = t->img->geom.cluster_size, sub = cs / QB_SUBCLUSTERS;

    if (make_room(t, err) < 0)
        return -1;
    for (unsigned i = 0, end; i < QB_SUBCLUSTERS; i = end) {
        enum qb_sub sort = qb_l2_subcluster(bitmap, i);

        for (end = i + 1; end < QB_SUBCLUSTERS && qb_l2_subcluster(bitmap, end) == sort;)
            end++;
        if (read_sort(t, sort, guest + i * sub, (entry & QB_ENTRY_OFFSET) + i * sub,
                      (end - i) * sub, t->cluster + i * sub, err) < 0)
            return -1;
    }
    *zero = qb_all_zero(t->cluster, cs);
    *out = qb_digest_of(t->cluster, cs);
    return 0;
}
