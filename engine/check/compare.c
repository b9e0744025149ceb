/* The counted references against the refcounts on disk. */
#include <string.h>

#include "check/census.h"
#include "qcow2/refcount.h"

struct compare {
    struct qb_census *c;
    uint64_t file_clusters;
    uint64_t counted_end; /* one behind the last cluster in the file with a refcount on disk */
};

static int note_leak(struct qb_census *c, uint64_t cluster, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size;
    struct qb_range r = {cluster * cs, (cluster + 1) * cs};

    if (c->leaks.n && c->leaks.items[c->leaks.n - 1].end == r.first)
        c->leaks.items[c->leaks.n - 1].end = r.end;
    else if (!qb_vec_push(&c->leaks, r))
        return qb_fail_memory(err);
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
        qb_census_note(c, &c->n_copied, false, offset,
                       "the COPIED flag does not fit the refcount %llu", (unsigned long long)disk);
    if (marks & QB_MARK_OVERLAP)
        qb_census_note(c, &c->n_overlaps, false, offset,
                       "metadata overlaps something else that the image holds");
    else if (disk < count)
        qb_census_note(c, &c->n_low, false, offset,
                       "refcount %llu is too low, referenced %llu times", (unsigned long long)disk,
                       (unsigned long long)count);
    if (disk > count)
        qb_census_note(c, &c->n_leaks, true, offset,
                       "refcount %llu is too high, referenced %llu times", (unsigned long long)disk,
                       (unsigned long long)count);
    return disk && !count ? note_leak(c, cluster, err) : 0;
}

static int compare_span(struct compare *m, const uint8_t *block, size_t index, uint64_t from,
                        uint64_t to, struct qb_err *err)
{
    struct qb_census *c = m->c;
    const struct qb_geom *g = &c->img->geom;
    uint64_t base = index * g->block_entries;
    struct qb_count_page *p = qb_counts_page(&c->counts, from);

    for (uint64_t cluster = from; cluster < to; cluster++) {
        unsigned at = cluster % QB_PAGE_COUNTS;
        uint64_t disk = qb_refcount_get(block, cluster - base, g->refcount_order);
        uint64_t count = p ? qb_page_count(p, at) : 0;
        unsigned marks = p ? qb_page_marks(p, at) : 0;
        bool fits;

        if (disk == 0 && count == 0 && marks == 0)
            continue;
        if (disk != count)
            c->block_differs[index] = 1;
        if (cluster >= m->file_clusters)
            continue; /* no such cluster: not a leak, but not to be kept either */
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

static int compare_block(struct qb_io *io, struct compare *m, size_t index, uint8_t *block,
                         struct qb_err *err)
{
    struct qb_census *c = m->c;
    const struct qb_geom *g = &c->img->geom;
    uint64_t base = index * g->block_entries, end = base + g->block_entries, next;
    uint64_t offset = c->reftable[index] & QB_REFTABLE_OFFSET;

    if (offset == 0 || qb_file_is_hole(c->img->file, offset, g->cluster_size)) {
        if (!qb_counts_any(&c->counts, base, end))
            return 0;
        memset(block, 0, g->cluster_size);
    } else if (qb_io_read(io, c->img->file, offset, block, g->cluster_size, "a refcount block",
                          err) < 0) {
        return -1;
    }
    for (uint64_t at = base; at < end; at = next) {
        next = QB_MIN((at / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, end);
        if (compare_span(m, block, index, at, next, err) < 0)
            return -1;
    }
    return 0;
}

/* Clusters in use that lie behind everything the refcount table can speak of. */
static int compare_beyond(struct compare *m, struct qb_err *err)
{
    struct qb_counts *counts = &m->c->counts;
    uint64_t limit = m->c->reftable_n * m->c->img->geom.block_entries;

    for (size_t s = 0; s < counts->n_slots; s++) {
        struct qb_count_page *p = counts->slots[s];

        for (unsigned i = 0; p && i < QB_PAGE_COUNTS; i++) {
            uint64_t cluster = p->number * QB_PAGE_COUNTS + i;

            if (cluster >= limit && qb_page_count(p, i) &&
                compare_one(m, cluster, 0, qb_page_count(p, i), qb_page_marks(p, i), err) < 0)
                return -1;
        }
    }
    return 0;
}

int qb_census_compare(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size;
    struct compare m = {.c = c, .file_clusters = qb_div_up(c->img->file->size, cs)};
    QB_AUTO(qb_buf) uint8_t *block = malloc(cs);
    size_t last = c->reftable_n;

    if (!block)
        return qb_fail_memory(err);
    /* Blocks behind the last used cluster and without an offset have nothing to say. */
    while (last > 0 && !c->reftable[last - 1] &&
           (last - 1) * c->img->geom.block_entries >= m.file_clusters)
        last--;
    for (size_t i = 0; i < last; i++)
        if (compare_block(io, &m, i, block, err) < 0)
            return -1;
    if (compare_beyond(&m, err) < 0)
        return -1;
    c->end = QB_MAX(qb_counts_end(&c->counts), m.counted_end) * cs;
    return 0;
}
