/* Fingerprints single clusters by the bytes that the guest reads: those that an amend copies, and
 * so are somewhere else, and of another kind, afterwards. */
#include <string.h>

#include "content/content_parts.h"

static struct qb_digest digest_cluster(const struct qb_taking *t, bool *zero)
{
    *zero = qb_all_zero(t->cluster, t->img->geom.cluster_size);
    return qb_digest_of(t->cluster, t->img->geom.cluster_size);
}

static int read_sort(struct qb_taking *t, enum qb_sub sort, uint64_t guest, uint64_t offset,
                     uint64_t len, uint8_t *to, struct qb_err *err)
{
    if (sort == QB_SUB_ALLOCATED)
        return qb_ahead_read(&t->ahead, t->io, t->host, offset, len, to, "guest data", err);
    if (sort == QB_SUB_UNALLOCATED && t->rules->below)
        return qb_chain_read(t->io, t->rules->below, guest, len, to, err);
    memset(to, 0, len);
    return 0;
}

int qb_content_bytes(struct qb_taking *t, uint64_t guest, uint64_t entry, uint64_t bitmap,
                     struct qb_digest *out, bool *zero, struct qb_err *err)
{
    uint64_t cs = t->img->geom.cluster_size, sub = cs / QB_SUBCLUSTERS;

    if (!t->cluster && !(t->cluster = malloc(cs)))
        return qb_fail_memory(err);
    for (unsigned i = 0, end; i < QB_SUBCLUSTERS; i = end) {
        enum qb_sub sort = qb_l2_subcluster(bitmap, i);

        for (end = i + 1; end < QB_SUBCLUSTERS && qb_l2_subcluster(bitmap, end) == sort;)
            end++;
        if (read_sort(t, sort, guest + i * sub, (entry & QB_ENTRY_OFFSET) + i * sub,
                      (end - i) * sub, t->cluster + i * sub, err) < 0)
            return -1;
    }
    *out = digest_cluster(t, zero);
    return 0;
}
