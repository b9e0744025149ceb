/* Reads the host bytes that the mappings name once, in the order of the file, in large requests of
 * which several are in flight.
 *
 * They are hashed in chunks, with their offsets.  The bounds of a chunk follow from the clusters
 * that are named, not from the file's holes, and a chunk of zeros is left out: so a hole and
 * written zeros have the same fingerprint. */
#include <string.h>

#include "content/content_parts.h"

#define CHUNK_BYTES   ((uint64_t)64 << 10)
#define REQUEST_BYTES ((uint64_t)1 << 20)

enum { CHUNKS = 512 };

struct chunk {
    uint64_t offset, len; /* of the file */
    uint8_t *bytes;
};

struct reader {
    struct qb_taking *t;
    uint8_t *buf;
    uint64_t used, room; /* bytes of buf */
    struct chunk chunks[CHUNKS];
    struct qb_req reqs[CHUNKS];
    size_t n_chunks, n_reqs;
    uint64_t window; /* first byte of the window that is being hashed */
    bool any;        /* it holds something */
};

static int end_window(struct reader *r, struct qb_err *err)
{
    struct qb_taking *t = r->t;
    struct qb_content_window w = {.first = r->window};

    if (!r->any)
        return 0;
    w.digest = qb_hasher_end(t->hasher);
    r->any = false;
    return qb_vec_push(&t->out->windows, w) ? 0 : qb_fail_memory(err);
}

static int hash_chunk(struct reader *r, const struct chunk *c, struct qb_err *err)
{
    uint64_t window = c->offset / r->t->out->window_bytes * r->t->out->window_bytes;
    struct qb_digest d;
    uint64_t words[4];

    if (qb_all_zero(c->bytes, c->len))
        return 0;
    if (window != r->window && end_window(r, err) < 0)
        return -1;
    if (!r->any)
        qb_hasher_reset(r->t->hasher);
    r->window = window;
    r->any = true;
    d = qb_digest_of(c->bytes, c->len);
    words[0] = c->offset;
    words[1] = c->len;
    words[2] = d.low;
    words[3] = d.high;
    qb_hasher_add(r->t->hasher, words, sizeof(words));
    return 0;
}

/* Carries out the pending reads, and hashes their bytes. */
static int drain(struct reader *r, struct qb_err *err)
{
    size_t failed = qb_io_run(r->t->io, r->reqs, r->n_reqs);

    for (size_t i = 0; failed && i < r->n_reqs; i++)
        if (r->reqs[i].error)
            return qb_io_fail(&r->reqs[i], "guest data", err);
    for (size_t i = 0; i < r->n_chunks; i++)
        if (hash_chunk(r, &r->chunks[i], err) < 0)
            return -1;
    r->n_chunks = r->n_reqs = 0;
    r->used = 0;
    return 0;
}

/* Merged with the previous request if they are adjacent in the file and in memory. */
static void want(struct reader *r, struct qb_range part, uint8_t *to)
{
    struct qb_req *last = r->n_reqs ? &r->reqs[r->n_reqs - 1] : NULL;
    uint64_t len = part.end - part.first;

    if (last && last->offset + last->len == part.first && (uint8_t *)last->buf + last->len == to &&
        last->len + len <= REQUEST_BYTES)
        last->len += len;
    else
        r->reqs[r->n_reqs++] = (struct qb_req){
            .file = r->t->host, .op = QB_OP_READ, .offset = part.first, .len = len, .buf = to};
}

static int add_chunk(struct reader *r, uint64_t offset, uint64_t len, struct qb_err *err)
{
    struct qb_file *file = r->t->host;
    struct qb_range part = {offset, QB_MIN(offset + len, file->size)};
    uint8_t *to;

    if (part.first >= part.end)
        return 0; /* the file's last cluster may be partial */
    part = qb_file_data_part(file, offset, part.end - offset);
    if (part.first == part.end)
        return 0;
    if ((r->n_chunks == CHUNKS || r->used + len > r->room) && drain(r, err) < 0)
        return -1;
    to = r->buf + r->used;
    memset(to, 0, part.first - offset);
    memset(to + (part.end - offset), 0, offset + len - part.end);
    want(r, part, to + (part.first - offset));
    r->chunks[r->n_chunks++] = (struct chunk){offset, len, to};
    r->used += len;
    return 0;
}

/* Splits a gapless range of host bytes into chunks on a grid. */
static int add_range(struct reader *r, uint64_t first, uint64_t end, struct qb_err *err)
{
    uint64_t stop;

    for (; first < end; first = stop) {
        uint64_t data = qb_file_next_data(r->t->host, first);

        if (data >= end)
            return 0;
        first = QB_MAX(first, data / CHUNK_BYTES * CHUNK_BYTES); /* holes are skipped */
        stop = QB_MIN((first / CHUNK_BYTES + 1) * CHUNK_BYTES, end);
        if (add_chunk(r, first, stop - first, err) < 0)
            return -1;
    }
    return 0;
}

static int add_page(struct reader *r, const struct qb_count_page *p, struct qb_err *err)
{
    uint64_t cs = r->t->img->geom.cluster_size, base = p->number * QB_PAGE_COUNTS;
    unsigned i = 0, end;

    if (qb_io_go_on(r->t->io, err) < 0)
        return -1;
    while (i < QB_PAGE_COUNTS) {
        if (!qb_page_count(p, i)) {
            i++;
            continue;
        }
        for (end = i + 1; end < QB_PAGE_COUNTS && qb_page_count(p, end);)
            end++;
        if (add_range(r, (base + i) * cs, (base + end) * cs, err) < 0)
            return -1;
        i = end;
    }
    return 0;
}

int qb_content_hosts(struct qb_taking *t, struct qb_err *err)
{
    struct qb_count_page *const *pages = qb_counts_pages(&t->hosts);
    struct reader *r = calloc(1, sizeof(*r));
    int rc = 0;

    if (r) {
        r->t = t;
        r->room = qb_max(qb_io_window(t->io), CHUNK_BYTES);
        r->buf = malloc(r->room);
    }
    if (!r || !r->buf)
        rc = qb_fail_memory(err);
    for (size_t i = 0; rc == 0 && i < t->hosts.n_pages; i++)
        rc = add_page(r, pages[i], err);
    if (rc == 0)
        rc = drain(r, err);
    if (rc == 0)
        rc = end_window(r, err);
    if (r)
        free(r->buf);
    free(r);
    return rc;
}
