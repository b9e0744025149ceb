#include "chain/disk_map.h"

#include "chain/chain_parts.h"
#include "chain/data_name.h"
#include "image/preallocated.h"

/* A file of the chain, the image first. */
struct level {
    struct qb_link *link;
    uint64_t size; /* bytes, in whole sectors, as QEMU has the disk */
    bool looked;   /* whether the metadata was preallocated is known */
    bool preallocated;
    struct qb_range below; /* the last stretch that was found to have no entry */
};

struct mapping {
    struct qb_io *io;
    struct qb_link top; /* the image; its file is a copy of the caller's */
    struct qb_chain chain;
    struct level *levels; /* owned: n of them */
    size_t n;
};

/* ---- the file below the format --------------------------------------------------------------- */

/* Whether the file has a hole at `at` < total, its length in whole sectors, and how far that goes.
 */
static bool is_hole(struct qb_file *file, uint64_t at, uint64_t total, uint64_t *end)
{
    uint64_t data = qb_file_next_data(file, at);

    *end = data >= file->size ? total : data;
    if (at >= file->size || data > at)
        return true;
    *end = qb_min(qb_file_data_end(file, at), total);
    return false;
}

static void status_raw(struct level *l, struct qb_disk_run *run, uint64_t *end)
{
    uint64_t stop;

    run->zero = is_hole(&l->link->file, run->start, l->size, &stop);
    run->data = !run->zero;
    run->has_offset = true;
    run->offset = run->start;
    *end = QB_MIN(*end, stop);
}

/* ---- qcow2 ----------------------------------------------------------------------------------- */

static int open_data(struct mapping *m, struct level *l, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_link *top = &m->top;
    struct qb_err why = {0};

    if (l->link != top || top->data_open)
        return qb_link_open_data(m->io, &m->chain, l->link, err);
    if (qb_data_locate(top->file.opener, top->file.path, top->img.data_name, &path, err) < 0)
        return -1;
    if (qb_named_open_data(m->io, &top->file, path, &top->data, &why) < 0)
        return qb_data_blame(path, &why, err);
    top->data_open = true;
    if (!m->chain.without_locks && qb_file_lock(&top->data, false, &why) < 0)
        return qb_data_blame(path, &why, err);
    return 0;
}

/* Data clusters of preallocated metadata may be holes of the file. */
static int look_through(struct mapping *m, struct level *l, struct qb_disk_run *run, uint64_t *end,
                        struct qb_err *err)
{
    struct qb_file *file = &l->link->file;
    uint64_t total, stop;

    if (!l->looked && qb_is_preallocated(m->io, &l->link->img, &l->preallocated, err) < 0)
        return -1;
    l->looked = true;
    if (!l->preallocated)
        return 0;
    if (l->link->img.geom.external_data) {
        if (open_data(m, l, err) < 0)
            return -1;
        file = &l->link->data;
    }
    total = qb_round_up(file->size, QB_SECTOR);
    if (run->offset >= total) {
        run->zero = true;
        return 0;
    }
    run->zero = is_hole(file, run->offset, total, &stop);
    *end = QB_MIN(*end, run->start + (stop - run->offset));
    return 0;
}

/* The subclusters from that of run->start on that are alike. */
static void status_subclusters(const struct qb_geom *g, uint64_t bitmap, struct qb_disk_run *run,
                               uint64_t *end)
{
    uint64_t size = g->cluster_size / QB_SUBCLUSTERS, within = run->start % g->cluster_size;
    const uint64_t both = UINT64_C(1) | UINT64_C(1) << QB_SUBCLUSTERS;
    unsigned first = (unsigned)(within / size), i = first + 1;

    while (i < QB_SUBCLUSTERS && ((bitmap >> i ^ bitmap >> first) & both) == 0)
        i++;
    run->data = bitmap >> first & 1;
    run->zero = bitmap >> (QB_SUBCLUSTERS + first) & 1;
    if (i < QB_SUBCLUSTERS)
        *end = QB_MIN(*end, run->start - within + i * size);
}

static void status_entry(const struct qb_image *img, const struct qb_map_run *e,
                         struct qb_disk_run *run, uint64_t *end)
{
    const struct qb_geom *g = &img->geom;
    enum qb_kind kind = qb_l2_kind(g, e->entry);

    run->compressed = kind == QB_COMPRESSED;
    run->data = kind == QB_DATA || run->compressed;
    run->zero = kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED;
    if (g->l2_entry_size == 16 && !run->compressed)
        status_subclusters(g, e->bitmap, run, end);
    run->has_offset = (kind == QB_DATA || kind == QB_ZERO_ALLOCATED) && !img->header.crypt_method;
    if (run->has_offset)
        run->offset = (e->entry & QB_ENTRY_OFFSET) + run->start % g->cluster_size;
}

static int status_qcow2(struct mapping *m, struct level *l, struct qb_disk_run *run, uint64_t *end,
                        struct qb_err *err)
{
    struct qb_map_run e;

    if (run->start >= l->below.first && run->start < l->below.end) {
        *end = QB_MIN(*end, l->below.end);
        return 0;
    }
    if (qb_map_entry(m->io, &l->link->map, run->start, l->size, &e, err) < 0)
        return -1;
    if (e.why)
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                       "the cluster of guest byte %llu of %.200s cannot be read: %s",
                       (unsigned long long)run->start, l->link->file.path, e.why);
    *end = QB_MIN(*end, e.end);
    if (e.entry == 0 && e.bitmap == 0) {
        l->below = (struct qb_range){run->start, e.end};
        return 0;
    }
    status_entry(&l->link->img, &e, run, end);
    if (run->data && run->has_offset)
        return look_through(m, l, run, end, err);
    return 0;
}

/* ---- the chain ------------------------------------------------------------------------------- */

/* The stretch at guest byte `start`, from the first file that has it. */
static int find(struct mapping *m, uint64_t start, struct qb_disk_run *run, struct qb_err *err)
{
    uint64_t end = m->levels[0].size;

    for (unsigned depth = 0;; depth++) {
        struct level *l = &m->levels[depth];

        *run = (struct qb_disk_run){.start = start, .depth = depth};
        end = QB_MIN(end, l->size);
        if (!l->link->is_qcow2)
            status_raw(l, run, &end);
        else if (status_qcow2(m, l, run, &end, err) < 0)
            return -1;
        run->present = run->data || run->zero;
        if (run->present)
            break;
        run->zero = depth + 1 == m->n || start >= m->levels[depth + 1].size;
        if (run->zero)
            break;
    }
    run->length = end - start;
    return 0;
}

static bool is_one(const struct qb_disk_run *a, const struct qb_disk_run *b)
{
    return a->depth == b->depth && a->present == b->present && a->zero == b->zero &&
           a->data == b->data && a->compressed == b->compressed && a->has_offset == b->has_offset &&
           (!a->has_offset || a->offset + a->length == b->offset);
}

static int map_all(struct mapping *m, qb_disk_run_fn *fn, void *arg, struct qb_err *err)
{
    struct qb_disk_run open = {0}, next;

    for (uint64_t at = 0; at < m->levels[0].size; at += next.length) {
        if (qb_io_go_on(m->io, err) < 0 || find(m, at, &next, err) < 0)
            return -1;
        if (open.length && is_one(&open, &next)) {
            open.length += next.length;
            continue;
        }
        if (open.length && fn(arg, &open, err) < 0)
            return -1;
        open = next;
    }
    return open.length ? fn(arg, &open, err) : 0;
}

static int prepare(struct mapping *m, bool without_locks, struct qb_err *err)
{
    struct qb_link *top = &m->top;
    unsigned how = QB_CHAIN_WHOLE | (without_locks ? QB_CHAIN_WITHOUT_LOCKS : 0);

    if (qb_image_open(m->io, &top->file, &top->img, err) < 0)
        return -1;
    top->is_qcow2 = true;
    top->size = top->img.header.size;
    qb_map_init(&top->map, &top->img);
    const struct qb_chain_top from = {top->file.path, &top->file, top->img.backing_name,
                                      top->img.backing_fmt};

    if (qb_chain_open(m->io, &from, how, &m->chain, err) < 0)
        return -1;
    m->n = m->chain.n + 1;
    m->levels = calloc(m->n, sizeof(*m->levels));
    if (!m->levels)
        return qb_fail_memory(err);
    for (size_t i = 0; i < m->n; i++) {
        struct level *l = &m->levels[i];

        l->link = i ? m->chain.links[i - 1] : top;
        l->size = l->link->size / QB_SECTOR * QB_SECTOR;
    }
    return 0;
}

int qb_disk_map(struct qb_io *io, struct qb_file *file, bool without_locks, qb_disk_run_fn *fn,
                void *arg, struct qb_err *err)
{
    struct mapping *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return qb_fail_memory(err);
    m->io = io;
    m->top.file = *file;
    r = prepare(m, without_locks, err);
    if (r == 0)
        r = map_all(m, fn, arg, err);
    if (m->top.is_qcow2)
        qb_image_close(&m->top.img);
    if (m->top.data_open)
        qb_file_close(&m->top.data);
    qb_chain_close(&m->chain);
    free(m->levels);
    free(m);
    return r;
}
