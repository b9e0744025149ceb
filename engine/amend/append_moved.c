/* Writes clusters of data at the places to which they move. */
#include "amend/append_parts.h"

#define WINDOW_BYTES  ((uint64_t)2 << 20)
#define REQUEST_BYTES ((uint64_t)1 << 20)

enum { REQUESTS = 128 };

struct moving {
    struct qb_plan *plan;
    struct qb_writer *w;
    uint8_t *window; /* owned */
    uint64_t used, room;
    struct qb_req reqs[REQUESTS];
    size_t n_reqs;
};

static int drain(struct moving *m, struct qb_err *err)
{
    if (qb_io_run(m->w->io, m->reqs, m->n_reqs))
        for (size_t i = 0; i < m->n_reqs; i++)
            if (m->reqs[i].error)
                return qb_io_fail(&m->reqs[i], "guest data", err);
    if (qb_writer_put(m->w, m->window, m->used, m->plan->geom.cluster_size, err) < 0)
        return -1;
    m->used = m->n_reqs = 0;
    return qb_io_go_on(m->w->io, err);
}

/* What the file lacks of its last cluster reads zero, and so does a hole. */
static void want(struct moving *m, uint64_t offset, uint8_t *to, uint64_t len)
{
    struct qb_file *file = m->plan->in.img->file;
    struct qb_req *last = m->n_reqs ? &m->reqs[m->n_reqs - 1] : NULL;
    uint64_t have = offset < file->size ? QB_MIN(len, file->size - offset) : 0;

    for (uint64_t i = 0; i < len; i++)
        to[i] = 0;
    if (have == 0 || qb_file_is_hole(file, offset, have))
        return;
    if (last && last->offset + last->len == offset && (uint8_t *)last->buf + last->len == to &&
        last->len + have <= REQUEST_BYTES)
        last->len += have;
    else
        m->reqs[m->n_reqs++] = (struct qb_req){
            .file = file, .op = QB_OP_READ, .offset = offset, .len = have, .buf = to};
}

int qb_append_moved(struct qb_writer *w, struct qb_plan *plan, const struct qb_step *step,
                    struct qb_err *err)
{
    const struct qb_moved_extent *e = &plan->moves.extents.items[step->index];
    uint64_t cs = plan->geom.cluster_size;
    struct moving m = {.plan = plan, .w = w, .room = QB_MAX(WINDOW_BYTES, cs)};
    int r = 0;

    m.window = malloc(m.room);
    if (!m.window)
        return qb_fail_memory(err);
    for (uint64_t i = 0; r == 0 && i < e->n; i++) {
        if (m.used + cs > m.room || m.n_reqs == REQUESTS)
            r = drain(&m, err);
        if (r == 0)
            want(&m, qb_moves_from(&plan->moves, e->index + i) * cs, m.window + m.used, cs);
        m.used += cs;
    }
    if (r == 0)
        r = drain(&m, err);
    free(m.window);
    return r;
}
