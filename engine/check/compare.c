/* Compares the counted references with the refcounts on disk.
 *
 * All threads look first which refcount blocks are exactly as counted, as nearly all are; the
 * others are compared in their order, so that findings come in it. */
#include "check/census.h"

#include <stdlib.h>
#include <string.h>

#include "check/block_fits.h"
#include "image/each_cluster.h"
#include "qcow2/refcount.h"

#define BLOCK_FITS 0x80 /* in block_differs, for a while: the counts are those on disk */

struct compare {
    struct qb_census *c;
    uint64_t file_clusters;
    uint64_t counted_end;     /* one past the last cluster in the file with a refcount on disk */
    uint8_t *block;           /* one cluster, for the block that is read; NULL: none was yet */
    uint8_t *zeros;           /* one cluster of zeros, for missing blocks; owned, as `block` */
    struct qb_count_run leak; /* clusters with the same surplus, not yet in the census */
};

static int flush_leak(struct compare *m, struct qb_err *err)
{
    struct qb_count_run run = m->leak;

    m->leak = (struct qb_count_run){0};
    return qb_counts_add_data(&m->c->surplus, run.first, run.end - run.first, run.count, 0, err);
}

/* Clusters come in ascending order, so that most leaks are a few runs. */
static int note_leak(struct compare *m, uint64_t cluster, uint64_t surplus, struct qb_err *err)
{
    if (!m->c->wants_surplus)
        return 0;
    if (m->leak.end == cluster && m->leak.count == surplus) {
        m->leak.end++;
        return 0;
    }
    if (flush_leak(m, err) < 0)
        return -1;
    m->leak = (struct qb_count_run){cluster, cluster + 1, surplus};
    return 0;
}

/* One cluster: `disk` is its refcount in the image, `count` the references found. */
static int compare_one(struct compare *m, uint64_t cluster, uint64_t disk, uint64_t count,
                       unsigned marks, struct qb_err *err)
{
    struct qb_census *c = m->c;
    uint64_t offset = cluster << c->img->geom.cluster_bits;

    if (((marks & QB_MARK_COPIED) && count != 1) || ((marks & QB_MARK_PLAIN) && count == 1))
        c->copied_wrong = true;
    if (((marks & QB_MARK_COPIED) && disk != 1) || ((marks & QB_MARK_PLAIN) && disk == 1))
        qb_census_note(c, QB_DEFECT_COPIED_FLAG_WRONG, offset,
                       "the COPIED flag does not fit the refcount %llu", (unsigned long long)disk);
    if (marks & QB_MARK_OVERLAP)
        qb_census_note(c, QB_DEFECT_METADATA_OVERLAP, offset,
                       "metadata overlaps something else that the image holds");
    else if (disk < count)
        qb_census_note(c, QB_DEFECT_REFCOUNT_TOO_LOW, offset,
                       "refcount %llu is too low, referenced %llu times", (unsigned long long)disk,
                       (unsigned long long)count);
    if (disk > count)
        qb_census_note(c, QB_DEFECT_CLUSTER_LEAKED, offset,
                       "refcount %llu is too high, referenced %llu times", (unsigned long long)disk,
                       (unsigned long long)count);
    return disk > count ? note_leak(m, cluster, disk - count, err) : 0;
}

/* Whether one count holds for the whole span, and only that count needs to be compared. */
static bool is_plain_span(const struct compare *m, const struct qb_count_page *p, uint64_t from,
                          uint64_t to)
{
    if (!p || p->cells || to > m->file_clusters || (from | to) % 8 != 0)
        return false;
    return !(p->marks & QB_MARK_OVERLAP) && !((p->marks & QB_MARK_COPIED) && p->count != 1) &&
           !((p->marks & QB_MARK_PLAIN) && p->count == 1);
}

static int compare_span(struct compare *m, const uint8_t *block, size_t index, uint64_t from,
                        uint64_t to, struct qb_err *err)
{
    struct qb_census *c = m->c;
    const struct qb_geom *g = &c->img->geom;
    uint64_t base = index * g->block_entries;
    struct qb_count_page *p = qb_counts_page(&c->counts, from);

    if (!p && qb_all_zero(block + ((from - base) << g->refcount_order) / 8,
                          ((to - from) << g->refcount_order) / 8))
        return 0;
    if (is_plain_span(m, p, from, to) &&
        qb_refcount_all(block, from - base, to - from, g->refcount_order, p->count)) {
        m->counted_end = p->count ? QB_MAX(m->counted_end, to) : m->counted_end;
        return 0;
    }
    for (uint64_t cluster = from; cluster < to; cluster++) {
        unsigned at = cluster % QB_PAGE_COUNTS;
        uint64_t disk = qb_refcount_get(block, cluster - base, g->refcount_order);
        uint64_t count = p ? qb_page_count(p, at) : 0;
        unsigned marks = p ? qb_page_marks(p, at) : 0;
        bool fits;

        if (disk == 0 && count == 0 && marks == 0)
            continue;
        if (disk != count)
            c->block_differs[index] |=
                disk > count && cluster < m->file_clusters ? QB_BLOCK_LEAKS : QB_BLOCK_WRONG;
        if (cluster >= m->file_clusters)
            continue; /* past the file's end: not a leak, but not kept either */
        if (disk)
            m->counted_end = QB_MAX(m->counted_end, cluster + 1);
        fits = disk == count && !(marks & QB_MARK_OVERLAP) &&
               !((marks & QB_MARK_COPIED) && count != 1) &&
               !((marks & QB_MARK_PLAIN) && count == 1);
        if (!fits && compare_one(m, cluster, disk, count, marks, err) < 0)
            return -1;
    }
    return 0;
}

/* Most images need none: all their blocks are as counted. */
static int make_buffer(uint8_t **buf, uint64_t bytes, struct qb_err *err)
{
    if (!*buf)
        *buf = calloc(1, bytes);
    return *buf ? 0 : qb_fail_memory(err);
}

static int compare_block(struct qb_io *io, struct compare *m, size_t index, struct qb_err *err)
{
    struct qb_census *c = m->c;
    const struct qb_geom *g = &c->img->geom;
    uint64_t base = index * g->block_entries, end = base + g->block_entries, next;
    uint64_t offset = c->reftable[index] & QB_REFTABLE_OFFSET;
    struct qb_range part = {0};
    bool empty;

    if (offset)
        part = qb_file_data_part(c->img->file, offset, g->cluster_size);
    empty = part.first == part.end;
    if (make_buffer(empty ? &m->zeros : &m->block, g->cluster_size, err) < 0)
        return -1;
    if (!empty && part.end - part.first < g->cluster_size)
        memset(m->block, 0, g->cluster_size);
    if (!empty && qb_io_read(io, c->img->file, part.first, m->block + (part.first - offset),
                             part.end - part.first, "a refcount block", err) < 0)
        return -1;
    for (uint64_t at = base; at < end; at = next) {
        if (empty) /* only what is counted can differ */
            at = qb_counts_next(&c->counts, at);
        if (at >= end)
            break;
        next = QB_MIN((at / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, end);
        if (compare_span(m, empty ? m->zeros : m->block, index, at, next, err) < 0)
            return -1;
    }
    return 0;
}

/* Clusters in use past the last cluster that the refcount table covers. */
static int compare_beyond(struct compare *m, struct qb_err *err)
{
    struct qb_counts *counts = &m->c->counts;
    struct qb_count_page *const *pages = qb_counts_pages(counts);
    uint64_t limit = m->c->reftable_n * m->c->img->geom.block_entries;

    for (size_t n = 0; n < counts->n_pages; n++) {
        struct qb_count_page *p = pages[n];

        if (p->number * QB_PAGE_COUNTS + QB_PAGE_COUNTS <= limit)
            continue;
        if (qb_io_go_on(m->c->io, err) < 0)
            return -1;
        for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
            uint64_t cluster = p->number * QB_PAGE_COUNTS + i;

            if (cluster >= limit && qb_page_count(p, i) &&
                compare_one(m, cluster, 0, qb_page_count(p, i), qb_page_marks(p, i), err) < 0)
                return -1;
        }
    }
    return 0;
}

static uint64_t place_of_block(const void *list, size_t i)
{
    return ((const uint64_t *)list)[i] & QB_REFTABLE_OFFSET;
}

static int look_at_block(void *arg, unsigned who, size_t i, const uint8_t *block,
                         struct qb_err *err)
{
    struct compare *m = arg;

    (void)who;
    (void)err;
    if (qb_block_fits(m->c, i, block))
        m->c->block_differs[i] = BLOCK_FITS;
    return 0;
}

static int find_fitting(struct qb_io *io, struct compare *m, size_t n, struct qb_err *err)
{
    const struct qb_image *img = m->c->img;
    struct qb_each_cluster blocks = {.io = io,
                                     .file = img->file,
                                     .cluster_size = img->geom.cluster_size,
                                     .what = "a refcount block",
                                     .place = place_of_block,
                                     .list = m->c->reftable,
                                     .n = n,
                                     .fn = look_at_block,
                                     .arg = m};
    struct qb_counts *counts = &m->c->counts;
    uint64_t each = qb_each_cluster_memory(&blocks);
    uint64_t left = counts->memory_limit - QB_MIN(counts->memory, counts->memory_limit);
    unsigned hands = (unsigned)qb_min(qb_each_cluster_hands(&blocks), left / each + 1);
    size_t batch = qb_each_cluster_batch(&blocks);

    for (size_t i = 0; i < n; i += batch)
        if (qb_each_cluster_skip(&blocks, &i, err) < 0 ||
            qb_each_cluster(&blocks, i, QB_MIN(i + batch, n), hands, err) < 0)
            return -1;
    return 0;
}

static int compare_all(struct qb_io *io, struct compare *m, struct qb_err *err)
{
    struct qb_census *c = m->c;
    size_t last = c->reftable_n;

    /* Missing blocks past the last used cluster need no comparison. */
    while (last > 0 && !c->reftable[last - 1] &&
           (last - 1) * c->img->geom.block_entries >= m->file_clusters)
        last--;
    if (find_fitting(io, m, last, err) < 0)
        return -1;
    for (size_t i = 0; i < last; i++) {
        bool fits = c->block_differs[i] == BLOCK_FITS;

        c->block_differs[i] = 0;
        if (qb_io_go_on(io, err) < 0 || (!fits && compare_block(io, m, i, err) < 0))
            return -1;
    }
    return compare_beyond(m, err) < 0 || flush_leak(m, err) < 0 ? -1 : 0;
}

int qb_census_compare(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size;
    struct compare m = {.c = c, .file_clusters = qb_div_up(c->img->file->size, cs)};
    int r;

    c->surplus.memory = c->counts.memory; /* one limit for both */
    c->surplus.memory_limit = c->counts.memory_limit;
    r = compare_all(io, &m, err);
    free(m.block);
    free(m.zeros);
    if (r < 0)
        return -1;
    c->counts.memory = c->surplus.memory;
    c->end = qb_max(qb_counts_end(&c->counts), m.counted_end) * cs;
    return 0;
}
