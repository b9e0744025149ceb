/* Collects what the append writes, and writes it a window at a time. */
#include <string.h>

#include "amend/append_parts.h"

#define START_BYTES    (2u << 20) /* enough to start writing to the disk */
#define WRITES_AT_ONCE 64u
#define READ_BYTES     (1u << 20) /* of one request */
#define PAGE_BYTES     4096u
#define GAP_BYTES      (32u << 10) /* shorter runs of zeros are cheaper to write than to leave out */

/* The part that is being written. */
struct part {
    uint64_t first, end; /* of the buffer */
    uint64_t offset;     /* of the file */
    bool sparse;
};

/* The end of the pages of zeros that begin at `at`. */
static uint64_t zeros_end(const struct qb_writer *w, const struct part *p, uint64_t at)
{
    while (at < p->end && qb_all_zero(w->buf + at, QB_MIN(PAGE_BYTES, p->end - at)))
        at += PAGE_BYTES;
    return QB_MIN(at, p->end);
}

/* The end of the bytes from `at` on that are written in one go: the next long run of zeros. */
static uint64_t bytes_end(const struct qb_writer *w, const struct part *p, uint64_t at)
{
    uint64_t end = at, zeros;

    while (end < p->end) {
        zeros = p->sparse ? zeros_end(w, p, end) : end;
        if (zeros - end >= GAP_BYTES || (zeros > end && zeros == p->end))
            break;
        end = QB_MIN(QB_MAX(zeros, end + PAGE_BYTES), p->end);
    }
    return end;
}

struct batch {
    struct qb_req reqs[WRITES_AT_ONCE];
    size_t n;
};

static int run(struct qb_writer *w, struct batch *b, struct qb_err *err)
{
    size_t n = b->n;

    b->n = 0;
    if (n && qb_io_run(w->io, b->reqs, n))
        for (size_t i = 0; i < n; i++)
            if (b->reqs[i].error)
                return qb_io_fail(&b->reqs[i], "new metadata", err);
    return 0;
}

static int write_part(struct qb_writer *w, struct batch *b, const struct part *p,
                      struct qb_err *err)
{
    uint64_t at = p->first, end;

    for (; at < p->end; at = end) {
        at = p->sparse ? zeros_end(w, p, at) : at;
        end = bytes_end(w, p, at);
        if (end > at)
            b->reqs[b->n++] = (struct qb_req){.file = w->file,
                                              .op = QB_OP_WRITE,
                                              .offset = p->offset + (at - p->first),
                                              .len = end - at,
                                              .buf = w->buf + at};
        if (b->n == WRITES_AT_ONCE && run(w, b, err) < 0)
            return -1;
    }
    return 0;
}

static struct part part_of(const struct qb_writer *w, unsigned i)
{
    const struct qb_writer_part *p = &w->parts[i];

    return (struct part){p->at, i + 1 < w->n_parts ? w->parts[i + 1].at : w->used, p->offset,
                         p->offset >= w->sparse_from};
}

static int run_reads(struct qb_writer *w, struct qb_err *err)
{
    unsigned n = w->n_reads;

    w->n_reads = 0;
    if (n && qb_io_run(w->io, w->reads, n))
        for (unsigned i = 0; i < n; i++)
            if (w->reads[i].error)
                return qb_io_fail(&w->reads[i], "guest data", err);
    return 0;
}

/* Has the disk begin to write, once there is enough for that.  One call for all parts: what lies
 * between them is the old image's, of which nothing is dirty that would not be written by the
 * barrier. */
static void start_writeback(struct qb_writer *w)
{
    struct qb_range *r = &w->unstarted;

    if (w->n_unstarted == 0)
        *r = (struct qb_range){UINT64_MAX, 0};
    for (unsigned i = 0; i < w->n_parts; i++) {
        struct part p = part_of(w, i);

        r->first = QB_MIN(r->first, p.offset);
        r->end = QB_MAX(r->end, p.offset + (p.end - p.first));
    }
    w->n_unstarted += w->used;
    if (w->n_unstarted < START_BYTES)
        return;
    qb_file_start_writeback(w->file, r->first, r->end - r->first);
    w->n_unstarted = 0;
}

int qb_writer_flush(struct qb_writer *w, struct qb_err *err)
{
    struct batch b = {.n = 0};
    struct part p = {0};

    if (run_reads(w, err) < 0)
        return -1;
    for (unsigned i = 0; i < w->n_parts; i++) {
        p = part_of(w, i);
        if (w->compares ? qb_writer_compare(w, p.offset, w->buf + p.first, p.end - p.first, err) < 0
                        : write_part(w, &b, &p, err) < 0)
            return -1;
    }
    if (run(w, &b, err) < 0)
        return -1;
    if (w->hasher)
        qb_hasher_add(w->hasher, w->buf, w->used);
    if (!w->compares)
        start_writeback(w);
    w->parts[0] = (struct qb_writer_part){0, p.offset + (p.end - p.first)};
    w->n_parts = 1;
    w->used = 0;
    return 0;
}

int qb_writer_seek(struct qb_writer *w, uint64_t offset, struct qb_err *err)
{
    struct qb_writer_part *last = w->n_parts ? &w->parts[w->n_parts - 1] : NULL;

    if (last && last->offset + (w->used - last->at) == offset)
        return 0;
    if (last && last->at == w->used) {
        last->offset = offset;
        return 0;
    }
    if (w->n_parts == QB_WRITER_PARTS && qb_writer_flush(w, err) < 0)
        return -1;
    if (w->used == 0)
        w->n_parts = 0;
    w->parts[w->n_parts++] = (struct qb_writer_part){w->used, offset};
    return 0;
}

uint8_t *qb_writer_slot(struct qb_writer *w, uint64_t len, struct qb_err *err)
{
    uint8_t *slot;

    if (w->used + len > w->size && qb_writer_flush(w, err) < 0)
        return NULL;
    slot = w->buf + w->used;
    w->used += len;
    return slot;
}

/* Merged with the read before where they adjoin in the file and in memory. */
static void want(struct qb_writer *w, struct qb_file *file, uint64_t offset, uint8_t *to,
                 uint64_t len)
{
    struct qb_req *last = w->n_reads ? &w->reads[w->n_reads - 1] : NULL;

    if (last && last->offset + last->len == offset && (uint8_t *)last->buf + last->len == to &&
        last->len + len <= READ_BYTES)
        last->len += len;
    else
        w->reads[w->n_reads++] = (struct qb_req){
            .file = file, .op = QB_OP_READ, .offset = offset, .len = len, .buf = to};
}

int qb_writer_read(struct qb_writer *w, struct qb_file *file, uint64_t offset, uint64_t cluster,
                   struct qb_err *err)
{
    uint64_t have = offset < file->size ? QB_MIN(cluster, file->size - offset) : 0;
    uint8_t *slot;

    if (w->n_reads == QB_WRITER_READS && run_reads(w, err) < 0)
        return -1;
    slot = qb_writer_slot(w, cluster, err);
    if (!slot)
        return -1;
    if (have && qb_file_is_hole(file, offset, have))
        have = 0;
    memset(slot + have, 0, cluster - have);
    if (have)
        want(w, file, offset, slot, have);
    return 0;
}

int qb_writer_put(struct qb_writer *w, const uint8_t *bytes, uint64_t len, uint64_t cluster,
                  struct qb_err *err)
{
    while (len) {
        uint64_t n = QB_MIN(len, cluster);
        uint8_t *slot = qb_writer_slot(w, cluster, err);

        if (!slot)
            return -1;
        memcpy(slot, bytes, n);
        memset(slot + n, 0, cluster - n);
        bytes += n;
        len -= n;
    }
    return 0;
}
