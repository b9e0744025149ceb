/* Reads single clusters for the content fingerprint. */
#include <string.h>

#include "content/content_parts.h"

#define REQUEST_BYTES ((uint64_t)1 << 20)

int qb_content_below(struct qb_taking *t, struct qb_range guest, uint64_t n, uint64_t *alike,
                     bool *empty, struct qb_err *err)
{
    uint64_t cs = t->img->geom.cluster_size, at = guest.first, end;
    struct qb_range data;

    if (at < t->empty.first || at >= t->data_end) {
        if (qb_chain_next_data(t->io, t->rules->below, at, INT64_MAX, &data, err) < 0)
            return -1;
        t->empty = (struct qb_range){at, data.first};
        t->data_end = QB_MAX(data.end, at + cs);
    }
    end = t->empty.end >= guest.end ? UINT64_MAX : t->empty.end;
    *empty = at < end && end - at >= cs;
    *alike = *empty ? (end - at) / cs : qb_div_up(t->data_end - at, cs);
    *alike = QB_MAX(QB_MIN(*alike, n), 1);
    return 0;
}

int qb_content_zero_below(struct qb_taking *t, struct qb_range guest, bool *zero,
                          struct qb_err *err)
{
    uint64_t cs = t->img->geom.cluster_size;
    uint64_t len = guest.end > guest.first ? QB_MIN(cs, guest.end - guest.first) : cs;
    struct qb_err why;

    *zero = false;
    if (qb_chain_read(t->io, t->rules->below, guest.first, len, t->scratch, &why) == 0) {
        *zero = qb_all_zero(t->scratch, len);
        return 0;
    }
    if (why.code == QB_E_UNSUPPORTED)
        return 0; /* not provable for the plan either */
    *err = why;
    return -1;
}

/* Bytes of zeros at the beginning of scratch, in whole clusters. */
static uint64_t zero_clusters(const struct qb_taking *t, uint64_t len)
{
    uint64_t cs = t->img->geom.cluster_size, n = 0;

    while (n < len && qb_all_zero(t->scratch + n, QB_MIN(cs, len - n)))
        n += QB_MIN(cs, len - n);
    return n;
}

/* Fills the first `len` bytes of scratch, with several requests in flight. */
static int read_new(struct qb_taking *t, uint64_t offset, uint64_t len, struct qb_err *err)
{
    struct qb_req reqs[QB_SCRATCH_BYTES / REQUEST_BYTES];
    size_t n = 0;

    for (uint64_t at = 0; at < len; at += REQUEST_BYTES)
        reqs[n++] = (struct qb_req){.file = t->host,
                                    .op = QB_OP_READ,
                                    .offset = offset + at,
                                    .len = QB_MIN(REQUEST_BYTES, len - at),
                                    .buf = t->scratch + at};
    if (qb_io_run(t->io, reqs, n) == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (reqs[i].error)
            return qb_io_fail(&reqs[i], "a new cluster", err);
    return 0;
}

int qb_content_new_is_zero(struct qb_taking *t, uint64_t offset, uint64_t limit, bool *zero,
                           struct qb_err *err)
{
    struct qb_file *file = t->host;
    uint64_t cs = t->img->geom.cluster_size, stop = QB_MIN(limit, file->size);
    uint64_t end = QB_MIN(offset + cs, stop), len, next;

    *zero = true;
    if (offset >= t->zeros.first && end <= t->zeros.end)
        return 0;
    next = qb_file_next_data(file, offset);
    t->zeros = (struct qb_range){offset, next};
    if (next >= end)
        return 0;
    len = QB_MIN(QB_SCRATCH_BYTES, stop - offset);
    if (read_new(t, offset, len, err) < 0)
        return -1;
    t->zeros.end = offset + zero_clusters(t, len);
    *zero = end <= t->zeros.end;
    return 0;
}

/* The guest's bytes from the data file, which may end before them. */
static int read_placed(struct qb_taking *t, uint64_t guest, uint64_t len, struct qb_err *err)
{
    uint64_t have = guest < t->host->size ? QB_MIN(len, t->host->size - guest) : 0;

    memset(t->scratch + have, 0, len - have);
    return have ? qb_io_read(t->io, t->host, guest, t->scratch, have, "guest data", err) : 0;
}

/* The same of the subclusters that are allocated, with zeros in place of the others. */
static int read_placed_parts(struct qb_taking *t, uint64_t guest, uint64_t len, uint64_t bitmap,
                             struct qb_err *err)
{
    uint64_t sub = t->img->geom.cluster_size / QB_SUBCLUSTERS;

    if (read_placed(t, guest, len, err) < 0)
        return -1;
    for (unsigned i = 0; i < QB_SUBCLUSTERS; i++)
        if (qb_l2_subcluster(bitmap, i) != QB_SUB_ALLOCATED)
            memset(t->scratch + i * sub, 0, sub);
    return 0;
}

/* Fills scratch with what the guest reads there; false if that cannot be determined. */
static int read_edge(struct qb_taking *t, uint64_t guest, uint64_t len, bool *known,
                     struct qb_err *err)
{
    uint64_t piece = t->img->geom.cluster_size, at = 0;
    bool backed = guest < t->rules->zero_from;
    struct qb_l2_place place;

    *known = true;
    if (qb_image_find(t->io, t->img, guest, &place, err) < 0)
        return -1;
    if (place.kind == QB_DATA && t->rules->data)
        return read_placed(t, guest, len, err);
    if (place.kind == QB_PARTIAL && t->rules->data
            ? read_placed_parts(t, guest, len, place.bitmap, err) < 0
            : qb_image_read_own(t->io, t->img, &place, t->scratch, err) < 0)
        return -1;
    if (place.kind == QB_PARTIAL)
        piece /= QB_SUBCLUSTERS;
    else if (place.kind != QB_UNALLOCATED && place.kind != QB_IDLE)
        backed = false;
    for (unsigned i = 0; backed && *known && at < len; i++, at += piece) {
        if (place.bitmap >> i & 1 || place.bitmap >> (QB_SUBCLUSTERS + i) & 1)
            continue;
        *known = t->rules->below != NULL;
        if (*known && qb_chain_read(t->io, t->rules->below, guest + at, QB_MIN(piece, len - at),
                                    t->scratch + at, err) < 0)
            return -1;
    }
    return 0;
}

int qb_content_edge(struct qb_taking *t, struct qb_err *err)
{
    uint64_t cs = t->img->geom.cluster_size, guest = t->edge * cs, size = t->rules->new_size;
    uint64_t real = QB_MIN(QB_MIN(t->img->header.size, size) - guest, cs);
    uint64_t len = QB_MIN(size - guest, cs);
    bool known;

    if (read_edge(t, guest, real, &known, err) < 0)
        return -1;
    memset(t->scratch + real, 0, len - real); /* as an image that grows must read there */
    t->out->edge = known ? qb_digest_of(t->scratch, len) : (struct qb_digest){1, 0};
    return 0;
}
