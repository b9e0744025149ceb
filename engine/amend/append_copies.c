/* Copies clusters of data into new ones, as the guest reads them: an extended entry is resolved,
 * its subclusters taken from the image's own cluster and from the backing chain.  Reads and writes
 * go through a window. */
#include "amend/append_parts.h"

#include <string.h>

#include "plan/new_tables.h"

#define WINDOW_BYTES  ((uint64_t)2 << 20)
#define REQUEST_BYTES ((uint64_t)1 << 20)

enum { REQUESTS = 256 };

struct copying {
    struct qb_plan *plan;
    struct qb_writer *w;
    size_t step; /* of which the table comes next */
    const struct qb_new_table *t;
    const uint8_t *source;
    uint8_t *window; /* owned */
    uint64_t used, room;
    uint64_t n; /* clusters of the table so far */
    struct qb_req reqs[REQUESTS];
    size_t n_reqs;
};

static int drain(struct copying *c, struct qb_err *err)
{
    uint64_t cs = c->plan->geom.cluster_size;

    if (qb_io_run(c->w->io, c->reqs, c->n_reqs))
        for (size_t i = 0; i < c->n_reqs; i++)
            if (c->reqs[i].error)
                return qb_io_fail(&c->reqs[i], "guest data", err);
    if (qb_writer_put(c->w, c->window, c->used, cs, err) < 0)
        return -1;
    c->used = c->n_reqs = 0;
    return qb_io_go_on(c->w->io, err);
}

/* Merged with the request before where they adjoin in the file and in memory. */
static void want(struct copying *c, uint64_t offset, uint8_t *to, uint64_t len)
{
    struct qb_file *file = c->plan->in.img->file;
    struct qb_req *last = c->n_reqs ? &c->reqs[c->n_reqs - 1] : NULL;

    len = offset < file->size ? QB_MIN(len, file->size - offset) : 0;
    if (len == 0 || qb_file_is_hole(file, offset, len))
        return;
    if (last && last->offset + last->len == offset && (uint8_t *)last->buf + last->len == to &&
        last->len + len <= REQUEST_BYTES)
        last->len += len;
    else
        c->reqs[c->n_reqs++] = (struct qb_req){
            .file = file, .op = QB_OP_READ, .offset = offset, .len = len, .buf = to};
}

static int copy_cluster(struct copying *c, uint64_t i, struct qb_err *err)
{
    const struct qb_geom *g = &c->plan->in.img->geom;
    uint64_t cs = g->cluster_size, sub = cs / QB_SUBCLUSTERS;
    uint64_t guest = c->t->l1_index * g->l1_span + i * cs;
    uint64_t host = qb_l2_get(g, c->source, i, 0) & QB_ENTRY_OFFSET;
    uint64_t bitmap = qb_l2_bitmap(g, c->source, i);
    uint8_t *to;

    if ((c->used + cs > c->room || c->n_reqs + QB_SUBCLUSTERS > REQUESTS) && drain(c, err) < 0)
        return -1;
    to = c->window + c->used;
    c->used += cs;
    memset(to, 0, cs);
    for (unsigned k = 0, end; k < QB_SUBCLUSTERS; k = end) {
        unsigned sort = qb_l2_subcluster(bitmap, k);

        for (end = k + 1; end < QB_SUBCLUSTERS && qb_l2_subcluster(bitmap, end) == sort;)
            end++;
        if (sort == QB_SUB_ALLOCATED)
            want(c, host + k * sub, to + k * sub, (end - k) * sub);
        else if (sort == QB_SUB_UNALLOCATED &&
                 qb_below_read(c->w->io, c->plan, guest + k * sub, to + k * sub, (end - k) * sub,
                               err) < 0)
            return -1;
    }
    return 0;
}

static int copy_run(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    struct copying *c = arg;

    for (uint64_t i = e->first; e->fate == QB_FATE_COPY && i < e->first + e->n; i++, c->n++)
        if (copy_cluster(c, i, err) < 0)
            return -1;
    return 0;
}

static int copy_table(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct copying *c = arg;
    const struct qb_step *step = &c->plan->place.steps.items[c->step++];

    (void)index;
    c->t = &c->plan->new_tables.list.items[step->index];
    c->source = source;
    c->n = 0;
    if (qb_writer_seek(c->w, step->offset, err) < 0 ||
        qb_new_walk(c->plan, c->t, source, copy_run, c, err) < 0 || drain(c, err) < 0)
        return -1;
    if (c->n == c->t->n_copied)
        return 0;
    return qb_fail(err, QB_E_INTERNAL, step->offset,
                   "an L2 table has %llu clusters to copy, and %llu were planned",
                   (unsigned long long)c->n, (unsigned long long)c->t->n_copied);
}

int qb_append_copies(struct qb_writer *w, struct qb_plan *plan, size_t first, size_t end,
                     struct qb_err *err)
{
    QB_AUTO(qb_buf) struct copying *c = calloc(1, sizeof(*c));
    QB_AUTO(qb_buf) struct qb_l2_table *list = calloc(end - first, sizeof(*list));
    QB_AUTO(qb_buf) uint8_t *window = NULL;
    struct qb_tables tables = {list, end - first, end - first};
    uint64_t room = QB_MAX(WINDOW_BYTES, plan->geom.cluster_size);

    window = malloc(room);
    if (!c || !list || !window)
        return qb_fail_memory(err);
    *c = (struct copying){.plan = plan, .w = w, .step = first, .window = window, .room = room};
    for (size_t i = first; i < end; i++)
        list[i - first].offset = qb_append_source(plan, plan->place.steps.items[i].index);
    return qb_tables_scan(
        &(struct qb_table_scan){w->io, plan->in.img, &tables, false, copy_table, c}, err);
}
