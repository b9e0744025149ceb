/* Finds the clusters that read zero.  A hole does without being read; what is data is read once,
 * however many entries of however many layers lead to it, in large requests of which several are in
 * flight. */
#include <string.h>

#include "base/own.h"
#include "base/ranges.h"
#include "plan/new_tables.h"
#include "rules/reclaim.h"

#define WINDOW_BYTES  ((uint64_t)8 << 20) /* that are read together, ... */
#define WINDOW_SHARE  16u                 /* ... or less: a share of the memory, but one cluster */
#define REQUEST_BYTES ((uint64_t)1 << 20)

enum { PIECES = 64, REQUESTS = PIECES + 8 };

/* Adjacent clusters, in the order of the file. */
struct piece {
    struct qb_range clusters;
    const uint8_t *bytes; /* NULL: a hole */
};

struct reading {
    struct qb_plan *plan;
    struct qb_zeros *zeros;
    uint8_t *window;
    uint64_t room, used; /* bytes of it */
    struct piece pieces[PIECES];
    struct qb_req reqs[REQUESTS];
    size_t n_pieces, n_reqs;
};

static int note(struct reading *r, uint64_t first, uint64_t end, struct qb_err *err)
{
    struct qb_range *last = r->zeros->runs.n ? &r->zeros->runs.items[r->zeros->runs.n - 1] : NULL;

    if (last && last->end == first) {
        last->end = end;
        return 0;
    }
    return qb_counts_push(&r->plan->census.counts, &r->zeros->runs, err,
                          (struct qb_range){first, end});
}

static int look_at_piece(struct reading *r, const struct piece *p, struct qb_err *err)
{
    uint64_t cs = r->plan->in.img->geom.cluster_size, n = p->clusters.end - p->clusters.first;

    if (!p->bytes)
        return note(r, p->clusters.first, p->clusters.end, err);
    for (uint64_t i = 0; i < n; i++)
        if (qb_all_zero(p->bytes + i * cs, cs) &&
            note(r, p->clusters.first + i, p->clusters.first + i + 1, err) < 0)
            return -1;
    return 0;
}

static int drain(struct reading *r, struct qb_err *err)
{
    size_t failed = qb_io_run(r->plan->in.io, r->reqs, r->n_reqs);

    for (size_t i = 0; failed && i < r->n_reqs; i++)
        if (r->reqs[i].error)
            return qb_io_fail(&r->reqs[i], "guest data", err);
    for (size_t i = 0; i < r->n_pieces; i++)
        if (look_at_piece(r, &r->pieces[i], err) < 0)
            return -1;
    r->n_pieces = r->n_reqs = 0;
    r->used = 0;
    return qb_io_go_on(r->plan->in.io, err);
}

/* Asks for the bytes of a piece; what the file lacks of its last cluster reads zero. */
static void want(struct reading *r, uint64_t offset, uint8_t *to, uint64_t len)
{
    struct qb_file *file = r->plan->in.img->file;
    uint64_t held = QB_MIN(len, file->size - QB_MIN(offset, file->size));

    memset(to + held, 0, len - held);
    for (uint64_t at = 0; at < held; at += REQUEST_BYTES)
        r->reqs[r->n_reqs++] = (struct qb_req){.file = file,
                                               .op = QB_OP_READ,
                                               .offset = offset + at,
                                               .buf = to + at,
                                               .len = QB_MIN(REQUEST_BYTES, held - at)};
}

static int add(struct reading *r, struct qb_range clusters, bool hole, struct qb_err *err)
{
    uint64_t cs = r->plan->in.img->geom.cluster_size;
    uint64_t most = r->room / cs;

    while (clusters.first < clusters.end) {
        struct piece *p = &r->pieces[r->n_pieces];
        uint64_t n = clusters.end - clusters.first, left = most - r->used / cs;

        if (r->n_pieces == PIECES || (!hole && left == 0)) {
            if (drain(r, err) < 0)
                return -1;
            continue;
        }
        n = hole ? n : QB_MIN(n, left);
        *p = (struct piece){.clusters = {clusters.first, clusters.first + n}};
        if (!hole) {
            want(r, clusters.first * cs, r->window + r->used, n * cs);
            p->bytes = r->window + r->used;
            r->used += n * cs;
        }
        r->n_pieces++;
        clusters.first += n;
    }
    return 0;
}

/* Those of [first, end) that hold data, as far as the counts tell.  A device is one extent, however
 * little of it is counted. */
static int add_data(struct reading *r, uint64_t first, uint64_t end, struct qb_err *err)
{
    struct qb_counts *counts = &r->plan->census.counts;

    for (uint64_t at = qb_counts_next(counts, first); at < end; at = qb_counts_next(counts, at)) {
        const struct qb_count_page *p = qb_counts_page(counts, at);
        uint64_t page_end = qb_min(qb_round_up(at + 1, QB_PAGE_COUNTS), end);

        if (qb_io_go_on(r->plan->in.io, err) < 0)
            return -1;
        while (at < page_end) {
            struct qb_range run = {at, at};

            while (run.end < page_end && qb_page_has_data(p, run.end % QB_PAGE_COUNTS))
                run.end++;
            if (add(r, run, false, err) < 0)
                return -1;
            at = QB_MAX(run.end, at + 1);
        }
    }
    return 0;
}

static int read_all(struct reading *r, struct qb_err *err)
{
    struct qb_file *file = r->plan->in.img->file;
    uint64_t cs = r->plan->in.img->geom.cluster_size, at = 0, last = r->plan->census.end / cs;

    while (at < last) {
        uint64_t data = qb_file_next_data(file, at * cs), end;
        uint64_t first = data < file->size ? QB_MIN(data / cs, last) : last;

        if (first > at && add(r, (struct qb_range){at, first}, true, err) < 0)
            return -1;
        at = first;
        if (at == last)
            break;
        end = qb_min(qb_div_up(qb_min(qb_file_data_end(file, data), file->size), cs), last);
        if (qb_io_go_on(r->plan->in.io, err) < 0 || add_data(r, at, end, err) < 0)
            return -1;
        at = end;
    }
    return drain(r, err);
}

int qb_zeros_find(struct qb_plan *plan, struct qb_zeros *z, struct qb_err *err)
{
    uint64_t share = plan->census.counts.memory_limit / WINDOW_SHARE;
    uint64_t room = QB_MAX(QB_MIN(WINDOW_BYTES, share), plan->in.img->geom.cluster_size);
    QB_AUTO(qb_buf) struct reading *r = NULL;
    QB_AUTO(qb_buf) uint8_t *window = NULL;
    int result;

    if (qb_counts_hold(&plan->census.counts, room + sizeof(*r), err) < 0)
        return -1;
    r = calloc(1, sizeof(*r));
    window = malloc(room);
    if (!r || !window)
        return qb_fail_memory(err);
    *r = (struct reading){.plan = plan, .zeros = z, .window = window, .room = room};
    result = read_all(r, err);
    qb_counts_let_go(&plan->census.counts, room + sizeof(*r));
    return result;
}

bool qb_zeros_have(const struct qb_zeros *z, uint64_t cluster)
{
    return qb_ranges_hold(z->runs.items, z->runs.n, cluster);
}

int qb_zeros_in_copy(struct qb_visit *v, const uint8_t *table, uint64_t i, uint64_t guest,
                     bool *zero, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    const struct qb_geom *g = &plan->in.img->geom;
    uint64_t cs = g->cluster_size, sub = cs / QB_SUBCLUSTERS;
    const struct qb_l2_place place = {qb_l2_get(g, table, i, 0), qb_l2_bitmap(g, table, i), 0,
                                      QB_PARTIAL};
    QB_AUTO(qb_buf) uint8_t *bytes = NULL;

    *zero = false;
    if (plan->geom.l2_entry_size != 8)
        return 0;
    bytes = malloc(cs);
    if (!bytes)
        return qb_fail_memory(err);
    if (qb_io_go_on(v->io, err) < 0 ||
        qb_image_read_own(v->io, plan->in.img, &place, bytes, err) < 0)
        return -1;
    for (unsigned k = 0; k < QB_SUBCLUSTERS; k++)
        if (qb_l2_subcluster(place.bitmap, k) == QB_SUB_UNALLOCATED &&
            qb_below_read(v->io, plan, guest + k * sub, bytes + k * sub, sub, err) < 0)
            return -1;
    *zero = qb_all_zero(bytes, cs);
    return 0;
}
