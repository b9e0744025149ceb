#include "image/reads.h"

#include <stdlib.h>
#include <string.h>

#include "io/ahead.h"

#define REQUEST_BYTES (1u << 20)
#define WORTH_CUTTING 8192u /* bytes of a hole that a read leaves out */

int qb_reads_open(struct qb_reads *r, struct qb_file *file, uint64_t cluster_size, size_t most,
                  struct qb_err *err)
{
    *r = (struct qb_reads){.file = file, .cluster_size = cluster_size, .most = QB_MAX(most, 1)};
    r->bytes = malloc(r->most * cluster_size);
    r->reqs = calloc(r->most, sizeof(*r->reqs));
    r->which = calloc(r->most, sizeof(*r->which));
    r->is_zero = calloc(r->most, sizeof(*r->is_zero));
    return r->bytes && r->reqs && r->which && r->is_zero ? 0 : qb_fail_memory(err);
}

void qb_reads_close(struct qb_reads *r)
{
    free(r->bytes);
    free(r->reqs);
    free(r->which);
    free(r->is_zero);
    *r = (struct qb_reads){0};
}

/* Adds the read of a part of a cluster, merged with the one before if they are adjacent in the file
 * and in memory. */
static void want(struct qb_reads *r, uint64_t offset, uint8_t *to, uint64_t len)
{
    struct qb_req *last = r->n_reqs ? &r->reqs[r->n_reqs - 1] : NULL;

    if (last && last->offset + last->len == offset && (uint8_t *)last->buf + last->len == to &&
        last->len + len <= REQUEST_BYTES) {
        last->len += len;
        return;
    }
    r->reqs[r->n_reqs++] =
        (struct qb_req){.file = r->file, .op = QB_OP_READ, .offset = offset, .len = len, .buf = to};
}

void qb_reads_add(struct qb_reads *r, size_t which, uint64_t offset, bool held_only)
{
    uint64_t cs = r->cluster_size;
    uint8_t *to = r->bytes + r->n * cs;
    bool *is_zero = &r->is_zero[r->n];
    struct qb_range part = {0};

    if (offset)
        part = qb_file_data_part(r->file, offset, cs);
    if (part.first == part.end && held_only)
        return;
    if (part.first < part.end && cs - (part.end - part.first) < WORTH_CUTTING)
        part = (struct qb_range){offset, offset + cs};
    else if (!*is_zero)
        memset(to, 0, cs);
    *is_zero = part.first == part.end;
    if (part.first < part.end)
        want(r, part.first, to + (part.first - offset), part.end - part.first);
    r->which[r->n++] = which;
}

int qb_reads_fail(const struct qb_reads *r, const char *what, struct qb_err *err)
{
    size_t i = 0;

    while (i + 1 < r->n_reqs && !r->reqs[i].error)
        i++;
    return qb_io_fail(&r->reqs[i], what, err);
}

void qb_reads_ahead(struct qb_file *file, uint64_t cluster_size, qb_place_fn *place,
                    const void *list, size_t first, size_t end)
{
    struct qb_range last = {0}, part;

    for (size_t i = first; i < end; i++) {
        uint64_t offset = place(list, i);

        part = offset ? qb_file_data_part(file, offset, cluster_size) : (struct qb_range){0};
        if (part.first == part.end)
            continue;
        if (part.first != last.end) {
            qb_file_read_ahead(file, last);
            last.first = part.first;
        }
        last.end = part.end;
    }
    qb_file_read_ahead(file, last);
}
