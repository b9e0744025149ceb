/* Writes pieces of compressed data, as they are, at the places to which they move.  What lies
 * between them is zeros. */
#include <string.h>

#include "amend/append_parts.h"
#include "base/own.h"

#define WINDOW_BYTES ((uint64_t)1 << 20)

enum { REQUESTS = 128 };

struct moving {
    struct qb_plan *plan;
    struct qb_writer *w;
    uint8_t *window;
    uint64_t at, end; /* bytes of the file that the window is written to */
    struct qb_req reqs[REQUESTS];
    size_t n_reqs;
};

static int run(struct moving *m, struct qb_err *err)
{
    if (qb_io_run(m->w->io, m->reqs, m->n_reqs))
        for (size_t i = 0; i < m->n_reqs; i++)
            if (m->reqs[i].error)
                return qb_io_fail(&m->reqs[i], "compressed data", err);
    m->n_reqs = 0;
    return qb_io_go_on(m->w->io, err);
}

/* Reads `len` bytes at `from` into the window; neighbours that stay neighbours are one request.
 * What the file lacks of its last sector reads zero. */
static int want(struct moving *m, uint64_t from, uint8_t *to, uint64_t len, struct qb_err *err)
{
    struct qb_file *file = m->plan->in.img->file;
    struct qb_req *last = m->n_reqs ? &m->reqs[m->n_reqs - 1] : NULL;
    uint64_t have = from < file->size ? QB_MIN(len, file->size - from) : 0;

    if (have == 0)
        return 0;
    if (last && from >= last->offset && from <= last->offset + last->len &&
        to - (uint8_t *)last->buf == (ptrdiff_t)(from - last->offset)) {
        last->len = QB_MAX(last->len, from + have - last->offset);
        return 0;
    }
    if (m->n_reqs == REQUESTS && run(m, err) < 0)
        return -1;
    m->reqs[m->n_reqs++] =
        (struct qb_req){.file = file, .op = QB_OP_READ, .offset = from, .len = have, .buf = to};
    return 0;
}

/* The part of a piece that lies in the window: whole sectors. */
static int want_part(struct moving *m, const struct qb_moved_piece *p, struct qb_err *err)
{
    uint64_t before = p->offset % QB_SECTOR;
    uint64_t first = QB_MAX(p->to - before, m->at), end = QB_MIN(p->to + p->available, m->end);

    return first < end
               ? want(m, p->offset - p->to + first, m->window + (first - m->at), end - first, err)
               : 0;
}

static int write_window(struct moving *m, const struct qb_piece_extent *e, size_t *i,
                        struct qb_err *err)
{
    const struct qb_moved_piece *pieces = m->plan->moves.pieces.items;

    memset(m->window, 0, m->end - m->at);
    while (*i < e->end && pieces[*i].to + pieces[*i].available <= m->at)
        ++*i;
    for (size_t k = *i; k < e->end && pieces[k].to - pieces[k].offset % QB_SECTOR < m->end; k++)
        if (want_part(m, &pieces[k], err) < 0)
            return -1;
    if (run(m, err) < 0)
        return -1;
    return qb_writer_put(m->w, m->window, m->end - m->at, m->plan->geom.cluster_size, err);
}

int qb_append_pieces(struct qb_writer *w, struct qb_plan *plan, const struct qb_step *step,
                     struct qb_err *err)
{
    const struct qb_piece_extent *e = &plan->moves.packed.items[step->index];
    uint64_t room = QB_MAX(WINDOW_BYTES, plan->geom.cluster_size);
    QB_AUTO(qb_buf) uint8_t *window = malloc(room);
    struct moving m = {.plan = plan, .w = w, .window = window};
    size_t i = e->first;

    if (!window)
        return qb_fail_memory(err);
    for (m.at = step->offset; m.at < step->offset + step->len; m.at = m.end) {
        m.end = QB_MIN(m.at + room, step->offset + step->len);
        if (write_window(&m, e, &i, err) < 0)
            return -1;
    }
    return 0;
}
