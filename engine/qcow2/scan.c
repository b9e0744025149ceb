/* Reads L2 tables ahead, in host order: adjacent ones are one request, a window's requests are in
 * flight together, and memory is limited to one window for any image. */
#include <string.h>

#include "qcow2/tables.h"

#define REQUEST_BYTES (1u << 20)
#define WORTH_CUTTING 8192u /* bytes of a hole that a read leaves out */
#define ASK_EVERY     256u  /* tables in holes are not read */

struct window {
    uint8_t *bytes;
    struct qb_req *reqs;
    size_t *which;   /* the tables in it: places in the list */
    size_t n_tables; /* that fit */
    size_t n_reqs;
};

static int window_open(struct window *w, uint64_t bytes, uint64_t cluster_size, size_t tables,
                       struct qb_err *err)
{
    w->n_tables = QB_MAX(bytes / cluster_size, 1);
    w->n_tables = QB_MIN(w->n_tables, tables);
    w->bytes = malloc(w->n_tables * cluster_size);
    w->reqs = calloc(w->n_tables, sizeof(*w->reqs));
    w->which = calloc(w->n_tables, sizeof(*w->which));
    return w->bytes && w->reqs && w->which ? 0 : qb_fail_memory(err);
}

static void window_close(struct window *w)
{
    free(w->bytes);
    free(w->reqs);
    free(w->which);
}

/* Adds the read of one table, merged with the one before if they are adjacent in the file and in
 * memory. */
static void want(struct window *w, struct qb_file *file, uint64_t offset, uint8_t *to, uint64_t len)
{
    struct qb_req *last = w->n_reqs ? &w->reqs[w->n_reqs - 1] : NULL;

    if (last && last->offset + last->len == offset && (uint8_t *)last->buf + last->len == to &&
        last->len + len <= REQUEST_BYTES) {
        last->len += len;
        return;
    }
    w->reqs[w->n_reqs++] =
        (struct qb_req){.file = file, .op = QB_OP_READ, .offset = offset, .len = len, .buf = to};
}

/* Fills the window from table *next on, and sets *next to the one after the last; returns the
 * number of tables, or -1. */
static ssize_t fill(const struct qb_table_scan *s, struct window *w, size_t *next,
                    struct qb_err *err)
{
    uint64_t cs = s->img->geom.cluster_size;
    size_t n = 0;

    w->n_reqs = 0;
    for (; n < w->n_tables && *next < s->tables->n; ++*next) {
        uint64_t offset = s->tables->items[*next].offset;
        uint8_t *to = w->bytes + n * cs;
        struct qb_range part = {0};

        if (*next % ASK_EVERY == 0 && qb_io_go_on(s->io, err) < 0)
            return -1;
        if (offset)
            part = qb_file_data_part(s->img->file, offset, cs);
        if (part.first == part.end && s->held_only)
            continue;
        if (part.first < part.end && cs - (part.end - part.first) < WORTH_CUTTING)
            part = (struct qb_range){offset, offset + cs};
        else
            memset(to, 0, cs);
        if (part.first < part.end)
            want(w, s->img->file, part.first, to + (part.first - offset), part.end - part.first);
        w->which[n++] = *next;
    }
    if (qb_io_run(s->io, w->reqs, w->n_reqs) == 0)
        return (ssize_t)n;
    for (size_t i = 0; i < w->n_reqs; i++)
        if (w->reqs[i].error)
            return qb_io_fail(&w->reqs[i], "an L2 table", err);
    return (ssize_t)n;
}

int qb_tables_scan(const struct qb_table_scan *s, struct qb_err *err)
{
    uint64_t cs = s->img->geom.cluster_size;
    struct window w = {0};
    size_t next = 0;
    int r = s->tables->n ? window_open(&w, qb_io_window(s->io), cs, s->tables->n, err) : 0;

    while (r == 0 && next < s->tables->n) {
        ssize_t n = fill(s, &w, &next, err);

        r = n < 0 ? -1 : 0;
        for (ssize_t i = 0; r == 0 && i < n; i++)
            r = s->fn(s->arg, w.which[i], w.bytes + (size_t)i * cs, err);
    }
    window_close(&w);
    return r;
}
