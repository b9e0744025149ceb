/* What the amended image shall hold, by the request alone. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "judge.h"

static bool asked(const struct judge *j, enum qb_key key)
{
    return j->s->rq.set & (unsigned)key;
}

static const char *text_of(const char *s)
{
    return s ? s : "";
}

/* Whether more was written than the header's cluster. */
static bool rewrites(const struct qb_mem_log *log, uint64_t cluster_size)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    for (size_t i = 0; i < n; i++)
        if (events[i].op == QB_OP_WRITE && events[i].offset >= cluster_size)
            return true;
    return false;
}

/* The snapshot to delete next, the oldest one first; 0: none.  Its number among the candidates says
 * whether it is one of the newest. */
static unsigned next_deleted(const struct reading *r, const struct qb_request *rq)
{
    unsigned oldest = 0, candidates = 0;

    for (unsigned i = 1; i < r->n_layers; i++) {
        bool matches = rq->snapshots_delete.n == 0;

        for (size_t k = 0; k < rq->snapshots_delete.n; k++)
            matches |= fnmatch(rq->snapshots_delete.items[k], r->layers[i].name, 0) == 0;
        candidates += matches;
        if (matches && (!oldest || r->layers[i].date < r->layers[oldest].date))
            oldest = i;
    }
    if (candidates <= rq->snapshots_keep_newest ||
        (rq->snapshots_older_than &&
         (double)rq->now - (double)r->layers[oldest].date <= rq->snapshots_older_than))
        return 0;
    return oldest;
}

/* One past the last guest cluster that may lack a place: preallocation leaves a standard entry
 * alone where the backing file shows, which it does not in what is added. */
static uint64_t lacking_end(const struct judge *j, const char *backing)
{
    const struct reading *r = &j->shall;
    const char *how = text_of(j->s->rq.preallocation);
    uint64_t shown = reading_backing_size(backing);

    if (!asked(j, QB_KEY_PREALLOCATION) || strcmp(how, "off") == 0)
        return UINT64_MAX;
    shown = shown < r->size ? shown : r->size;
    shown = shown < j->was.size ? shown : j->was.size;
    return r->extended_l2 ? 0 : (shown + r->cluster_size - 1) / r->cluster_size;
}

/* A disk that grows is all in its data file; one that shrinks leaves no more than that there. */
static void expect_data_file(struct reading *r, const struct qb_request *rq, uint64_t old_size)
{
    if (!(r->incompatible & 4))
        return;
    if (rq->set & QB_KEY_DATA_FILE)
        snprintf(r->data_file, sizeof(r->data_file), "%s", rq->data_file);
    if (rq->set & QB_KEY_DATA_FILE_RAW)
        r->data_raw = rq->data_file_raw;
    if (r->size > old_size ? r->data_size < r->size : r->size < old_size && r->data_size > r->size)
        r->data_size = r->size;
}

/* The old image as it shall read afterwards: every guest content is sacred. */
void judge_expect(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_request *rq = &j->s->rq;
    const char *name =
        asked(j, QB_KEY_BACKING_FILE) ? text_of(rq->backing_file) : j->was.backing_file;
    struct reading *r = &j->shall;

    reading_take_image(&j->s->image, name, r);
    if (asked(j, QB_KEY_SIZE))
        reading_resize(r, rq->size);
    snprintf(r->backing_file, sizeof(r->backing_file), "%s", name);
    if (asked(j, QB_KEY_BACKING_FMT))
        snprintf(r->backing_fmt, sizeof(r->backing_fmt), "%s", text_of(rq->backing_fmt));
    else if (!name[0])
        r->backing_fmt[0] = 0;
    if (asked(j, QB_KEY_COMPAT))
        r->version = rq->compat;
    if (asked(j, QB_KEY_REFCOUNT_BITS))
        r->refcount_bits = (unsigned)rq->refcount_bits;
    if (asked(j, QB_KEY_EXTENDED_L2))
        r->extended_l2 = rq->extended_l2;
    if (asked(j, QB_KEY_LAZY_REFCOUNTS))
        r->compatible = rq->lazy_refcounts;
    reading_bitmaps_amend(&r->bitmaps, rq, r->size);
    if (r->version == 2)
        r->compatible = r->extended_l2 = 0;
    r->lacking_end = lacking_end(j, name);
    if (r->version == 2 && rq->drop_bitmaps)
        reading_bitmaps_free(&r->bitmaps);
    while (asked(j, QB_KEY_SNAPSHOTS) && r->n_layers > 1 && next_deleted(r, rq))
        reading_delete(r, next_deleted(r, rq));
    expect_data_file(r, rq, j->was.size);
    r->incompatible &= 8 | 4 | 2; /* a mark stays until it is cleared */
    if (asked(j, QB_KEY_REPAIR) && (rq->repair & QB_REPAIR_FLAGS))
        r->incompatible &= ~2u;
    if (asked(j, QB_KEY_COMPRESSION_TYPE))
        r->incompatible =
            (r->incompatible & 4) | (strcmp(rq->compression_type, "zstd") == 0 ? 8 : 0);
    r->corruptions = rewrites(log, j->was.cluster_size) ? 0 : j->was.corruptions;
    r->leaks = j->was.leaks;
    r->behind = j->was.behind;
    if (rewrites(log, j->was.cluster_size)) /* leaks are kept, where the refcounts mean something */
        r->leaks = (j->was.incompatible & 1) || rq->on_leaks == QB_LEAKS_FREE ||
                           (asked(j, QB_KEY_REPAIR) && (rq->repair & QB_REPAIR_LEAKS))
                       ? 0
                       : j->was.leaks - j->was.behind;
}
