/* Proves from the disk that an amend may be undone.  This file: the bytes that only one image
 * refers to. */
#include "undo/undo_prove.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"

#define READ_BYTES (UINT64_C(1) << 20)

int qb_undo_refuse(struct qb_proving *p, uint64_t offset, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return qb_fail(p->err, QB_E_CHANGED, offset,
                   "%s since the run amended it; an undo would lose what was written", text);
}

/* Reads [first, first + len), without the holes. */
static int read_part(struct qb_proving *p, uint64_t first, uint64_t len, uint8_t *buf)
{
    struct qb_file *file = p->now.file;
    struct qb_range part = qb_file_data_part(file, first, len);

    memset(buf, 0, len);
    if (part.first >= part.end)
        return 0;
    return qb_io_read(p->io, file, part.first, buf + (part.first - first), part.end - part.first,
                      "what the amend wrote", p->err);
}

static int add_range(struct qb_proving *p, struct qb_range range, uint8_t *buf,
                     struct qb_hasher *hasher)
{
    for (uint64_t at = range.first, len; at < range.end; at += len) {
        len = QB_MIN(READ_BYTES, range.end - at);
        if (read_part(p, at, len, buf) < 0)
            return -1;
        qb_hasher_add(hasher, buf, len);
    }
    return 0;
}

/* The fingerprint of the bytes of these ranges, one after the other. */
static int digest_of(struct qb_proving *p, const struct qb_range *ranges, size_t n,
                     struct qb_digest *out)
{
    QB_AUTO(qb_buf) uint8_t *buf = malloc(READ_BYTES);
    struct qb_hasher *hasher = qb_hasher_new();
    int r = buf && hasher ? 0 : qb_fail_memory(p->err);

    if (r == 0)
        qb_hasher_reset(hasher);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_range(p, ranges[i], buf, hasher);
    if (r == 0)
        *out = qb_hasher_end(hasher);
    qb_hasher_free(hasher);
    return r;
}

static int same_bytes(struct qb_proving *p, const struct qb_range *ranges, size_t n,
                      struct qb_digest wanted, const char *what)
{
    struct qb_digest found;

    for (size_t i = 0; i < n; i++)
        if (ranges[i].end > p->now.file->size)
            return qb_undo_refuse(p, ranges[i].first, "the file was cut");
    if (digest_of(p, ranges, n, &found) < 0)
        return -1;
    return qb_digest_equal(found, wanted) ? 0 : qb_undo_refuse(p, ranges->first, "%s", what);
}

/* The same for one range, which may be empty. */
static int same_range(struct qb_proving *p, uint64_t first, uint64_t end, struct qb_digest wanted,
                      const char *what)
{
    const struct qb_range range = {first, end};

    return first == end ? 0 : same_bytes(p, &range, 1, wanted, what);
}

/* Checks new clusters of zeros: only data is read, not the holes. */
static int still_zero(struct qb_proving *p, struct qb_range range)
{
    struct qb_file *file = p->now.file;
    uint64_t end = range.end, len;
    QB_AUTO(qb_buf) uint8_t *buf = malloc(READ_BYTES);

    if (!buf)
        return qb_fail_memory(p->err);
    if (end > file->size)
        return qb_undo_refuse(p, file->size, "the file was cut");
    for (uint64_t at = range.first; at < end; at += len) {
        at = qb_file_next_data(file, at);
        if (at >= end)
            break;
        len = QB_MIN(READ_BYTES, end - at);
        if (read_part(p, at, len, buf) < 0)
            return -1;
        if (!qb_all_zero(buf, len))
            return qb_undo_refuse(p, at, "a new cluster was written");
    }
    return 0;
}

int qb_undo_same_stretch(struct qb_proving *p)
{
    const struct qb_proof *f = p->proof;
    static const char tables[] = "the amended tables were written";

    if (!f->written.n)
        return same_range(p, f->base, f->zero_base, f->stretch, tables) < 0
                   ? -1
                   : still_zero(p, (struct qb_range){f->zero_base, f->end});
    if (same_bytes(p, f->written.items, f->written.n, f->stretch, tables) < 0)
        return -1;
    qb_vec_each (r, &f->zeroed)
        if (still_zero(p, *r) < 0)
            return -1;
    return 0;
}

static int compare_bytes(struct qb_proving *p)
{
    const struct qb_proof *f = p->proof;

    if (f->head_len && same_range(p, QB_SECTOR, f->head_len, f->head,
                                  "the old header's extensions or names were overwritten") < 0)
        return -1;
    if (f->name_len && same_range(p, f->name_at, f->name_at + f->name_len, f->name,
                                  "the backing file name was written") < 0)
        return -1;
    return qb_undo_same_stretch(p);
}

/* Whether clusters are compressed in a table that the amend did not write: it rewrote all that had
 * any, so a guest has compressed them in the new way. */
static bool compresses_since(const struct qb_proving *p)
{
    const struct qb_census *now = &p->now_refs;

    for (size_t i = 0; i < now->tables.n; i++)
        if (now->notes[i].compressed && !qb_proof_is_new(p->proof, now->tables.items[i].offset))
            return true;
    return false;
}

/* Finds entries that the old header cannot express; a guest may have put them into tables that both
 * images use. */
static int compare_features(struct qb_proving *p)
{
    const struct qb_clusters *c = &p->old_refs.clusters;
    const struct qb_header *old = &p->old.header, *now = &p->now.header;

    if (old->version < now->version && c->zero_plain + c->zero_allocated)
        return qb_undo_refuse(p, QB_NOWHERE,
                              "zero clusters, which the old version does not support, were made");
    if (old->compression_type != now->compression_type && compresses_since(p))
        return qb_undo_refuse(p, QB_NOWHERE, "clusters were compressed in another way");
    return 0;
}

int qb_undo_prove(struct qb_proving *p)
{
    if (compare_bytes(p) < 0 || qb_undo_count(p) < 0 || compare_features(p) < 0 ||
        qb_undo_compare_maps(p) < 0)
        return -1;
    return qb_undo_look_beyond(p);
}
