/* Reads L2 tables ahead, in host order: a window's requests are in flight together, and those of
 * the next one are asked for.  Memory is limited to one window for any image. */
#include "image/reads.h"
#include "image/tables.h"

#define ASK_EVERY 256u /* tables in holes are not read */

static uint64_t place_of_table(const void *list, size_t i)
{
    return ((const struct qb_tables *)list)->items[i].offset;
}

/* Fills the window from table *next on, and sets *next to the one after the last. */
static int fill(const struct qb_table_scan *s, struct qb_reads *w, size_t *next, struct qb_err *err)
{
    qb_reads_begin(w);
    for (; w->n < w->most && *next < s->tables->n; ++*next) {
        if (*next % ASK_EVERY == 0 && qb_io_go_on(s->io, err) < 0)
            return -1;
        qb_reads_add(w, *next, s->tables->items[*next].offset, s->held_only);
    }
    return qb_io_run(s->io, w->reqs, w->n_reqs) ? qb_reads_fail(w, "an L2 table", err) : 0;
}

int qb_tables_scan(const struct qb_table_scan *s, struct qb_err *err)
{
    uint64_t cs = s->img->geom.cluster_size, ahead = QB_READ_AHEAD / cs;
    struct qb_reads w = {0};
    size_t next = 0, asked = 0, most; /* asked: those before it were, to be read ahead */
    int r = 0;

    if (s->tables->n)
        r = qb_reads_open(&w, s->img->file, cs, qb_min(qb_io_slice(s->io) / cs, s->tables->n), err);
    while (r == 0 && next < s->tables->n) {
        r = fill(s, &w, &next, err);
        most = qb_min(next + ahead, s->tables->n);
        if (r == 0)
            qb_reads_ahead(s->img->file, cs, place_of_table, s->tables, QB_MAX(next, asked), most);
        asked = most;
        for (size_t i = 0; r == 0 && i < w.n; i++)
            r = s->fn(s->arg, w.which[i], qb_reads_cluster(&w, i), err);
    }
    qb_reads_close(&w);
    return r;
}
