/* Reading L2 tables ahead, in host order: neighbours become one request, a window's requests are in
 * flight together, and memory stays at one window whatever the image. */
#include <string.h>

#include "qcow2/tables.h"

#define REQUEST_BYTES (1u << 20)
#define WORTH_CUTTING 8192u /* bytes of a hole that a read leaves out */
#define ASK_EVERY     256u  /* tables in holes: nothing is read of them */

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

/* Adds one table's read, joined to the one before where both disk and memory adjoin. */
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

/* Fills the window from table *next on, and moves *next behind the last; the number of tables, or
 * -1. */
static ssize_t fill(struct qb_io *io, const struct qb_image *img, struct window *w,
                    const struct qb_l2_table *tables, size_t *next, size_t end, bool held_only,
                    struct qb_err *err)
{
    uint64_t cs = img->geom.cluster_size;
    size_t n = 0;

    w->n_reqs = 0;
    for (; n < w->n_tables && *next < end; ++*next) {
        uint64_t offset = tables[*next].offset;
        uint8_t *to = w->bytes + n * cs;
        struct qb_range part = {0};

        if (*next % ASK_EVERY == 0 && qb_io_go_on(io, err) < 0)
            return -1;
        if (offset)
            part = qb_file_data_part(img->file, offset, cs);
        if (part.first == part.end && held_only)
            continue;
        if (part.first < part.end && cs - (part.end - part.first) < WORTH_CUTTING)
            part = (struct qb_range){offset, offset + cs};
        else
            memset(to, 0, cs);
        if (part.first < part.end)
            want(w, img->file, part.first, to + (part.first - offset), part.end - part.first);
        w->which[n++] = *next;
    }
    if (qb_io_run(io, w->reqs, w->n_reqs) == 0)
        return (ssize_t)n;
    for (size_t i = 0; i < w->n_reqs; i++)
        if (w->reqs[i].error)
            return qb_io_fail(&w->reqs[i], "an L2 table", err);
    return (ssize_t)n;
}

static int scan(struct qb_io *io, const struct qb_image *img, const struct qb_tables *tables,
                size_t first, size_t end, bool held_only, qb_table_fn *fn, void *arg,
                struct qb_err *err)
{
    uint64_t cs = img->geom.cluster_size;
    struct window w = {0};
    int r = first < end ? window_open(&w, qb_io_window(io), cs, end - first, err) : 0;

    while (r == 0 && first < end) {
        ssize_t n = fill(io, img, &w, tables->items, &first, end, held_only, err);

        r = n < 0 ? -1 : 0;
        for (ssize_t i = 0; r == 0 && i < n; i++)
            r = fn(arg, w.which[i], w.bytes + (size_t)i * cs, err);
    }
    window_close(&w);
    return r;
}

int qb_tables_scan(struct qb_io *io, const struct qb_image *img, const struct qb_tables *tables,
                   size_t first, size_t end, qb_table_fn *fn, void *arg, struct qb_err *err)
{
    return scan(io, img, tables, first, end, false, fn, arg, err);
}

int qb_tables_scan_held(struct qb_io *io, const struct qb_image *img,
                        const struct qb_tables *tables, size_t first, size_t end, qb_table_fn *fn,
                        void *arg, struct qb_err *err)
{
    return scan(io, img, tables, first, end, true, fn, arg, err);
}
