/* convert: a raw disk becomes an image in place.  Its clusters stay where they are, and each is
 * mapped to its own place; only the first one, in which the header goes, is copied.  What the disk
 * holds is known by the census (raw.h); this rule has the copy, the L2 tables and the L1 table
 * appended, and the layout adds the refcounts. */
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "plan/raw.h"
#include "plan/rule.h"

struct convert {
    bool copies;                 /* the first cluster holds something */
    size_t copy, tables, l1;     /* places in plan->contents */
    QB_VEC(uint32_t) l1_indexes; /* of the L2 tables, ascending */
    uint64_t copy_at;            /* where the copy is, bytes of the file; once placed */
    uint64_t n;                  /* clusters that are mapped */
};

static bool is(const char *value, const char *wanted)
{
    return value && strcmp(value, wanted) == 0;
}

/* What no new image has, or would have to be made in other ways. */
static int check_wishes(const struct qb_request *rq, struct qb_err *err)
{
    if (qb_asked(rq, QB_KEY_BACKING_FILE) && qb_text_of(rq->backing_file)[0])
        return QB_CANNOT(
            "convert: a raw disk has no backing file, and one would show in its holes");
    if (qb_asked(rq, QB_KEY_DATA_FILE) && qb_text_of(rq->data_file)[0])
        return QB_CANNOT("convert: an external data file");
    if (qb_asked(rq, QB_KEY_PREALLOCATION) && !is(rq->preallocation, "off"))
        return QB_CANNOT("convert: preallocation=%s; holes stay holes, and what is reserved stays "
                         "reserved",
                         qb_text_of(rq->preallocation));
    if (qb_asked(rq, QB_KEY_RECLAIM))
        return QB_CANNOT("convert: reclaim; convert the disk first");
    return 0;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    if (!qb_asked(rq, QB_KEY_CONVERT))
        return 0;
    if (!is(rq->convert_from, "raw") || !is(rq->convert_to, "qcow2"))
        return QB_REFUSE("convert needs both from: raw and to: qcow2");
    if (check_wishes(rq, err) < 0)
        return -1;
    if (!img->raw && rq->convert_header)
        return 0; /* an interrupted run has done it */
    if (!img->raw)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "convert: the file was read as an image");
    t->reach = QB_REACH_TABLES;
    return 1;
}

static int list_tables(struct qb_plan *plan, struct convert *c, struct qb_err *err)
{
    struct qb_counts *counts = &plan->census.counts;
    uint64_t n = plan->in.img->geom.l2_entries, first;

    for (uint64_t at = 0; (at = qb_counts_next(counts, at)) != UINT64_MAX; at = first + n) {
        first = at - at % n;
        if (qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (((first == 0 && c->copies) || qb_raw_is_mapped(plan, first, first + n)) &&
            qb_counts_push(counts, &c->l1_indexes, err, (uint32_t)(first / n)) < 0)
            return -1;
    }
    return 0;
}

static int append_filled(struct qb_plan *plan, uint64_t len, const char *what, size_t *index,
                         struct qb_err *err)
{
    const struct qb_new_bytes bytes = {.filled_by = QB_RULE_convert, .len = len, .what = what};

    return len ? qb_plan_append_bytes(plan, bytes, index, err) : 0;
}

static int check(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t cs = img->geom.cluster_size;
    struct convert *c;

    if (!qb_works(&plan->target, QB_RULE_convert))
        return 0;
    c = qb_plan_own(plan, QB_RULE_convert, sizeof(*c), err);
    if (!c)
        return -1;
    c->copies =
        qb_raw_shared_from(img) == 0 || !qb_file_is_hole(img->file, 0, QB_MIN(cs, img->raw_end));
    c->n = plan->census.clusters.allocated += c->copies;
    plan->active.size = (uint32_t)qb_geom_l1_needed(&img->geom, plan->target.header.size);
    if (list_tables(plan, c, err) < 0 ||
        append_filled(plan, c->copies ? cs : 0, "the disk's first cluster", &c->copy, err) < 0 ||
        append_filled(plan, c->l1_indexes.n * cs, "L2 tables", &c->tables, err) < 0)
        return -1;
    return append_filled(plan, 8ull * plan->active.size, "L1 table", &c->l1, err);
}

static int placed(struct qb_plan *plan, struct qb_err *err)
{
    struct convert *c = plan->own[QB_RULE_convert];

    (void)err;
    if (!c)
        return 0;
    if (c->copies)
        c->copy_at = plan->contents.items[c->copy].offset;
    plan->target.header.l1_offset = plan->contents.items[c->l1].offset;
    return 0;
}

/* ---- in the append --------------------------------------------------------------------------- */

static int fill_copy(struct qb_io *io, const struct qb_plan *plan, uint8_t *to, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;

    return qb_io_read(io, img->file, 0, to, QB_MIN(img->geom.cluster_size, img->raw_end),
                      "the disk's first cluster", err);
}

static void fill_table(const struct qb_plan *plan, const struct convert *c, uint32_t l1_index,
                       uint8_t *to)
{
    const struct qb_geom *g = &plan->in.img->geom;
    struct qb_counts *counts = (struct qb_counts *)&plan->census.counts; /* finds, changes none */
    uint64_t first = l1_index * g->l2_entries, stop;
    uint64_t end = qb_min(first + g->l2_entries, qb_geom_clusters(g, plan->in.img->raw_end));

    if (l1_index == 0 && c->copy_at)
        qb_l2_put_as(g, to, 0, c->copy_at | QB_ENTRY_COPIED, QB_ALL_ALLOCATED);
    for (uint64_t at = QB_MAX(first, 1); at < end; at = stop) {
        const struct qb_count_page *page = qb_counts_page(counts, at);

        stop = QB_MIN((at / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, end);
        for (uint64_t i = page ? at : stop; i < stop; i++)
            if (qb_page_count(page, i % QB_PAGE_COUNTS))
                qb_l2_put_as(g, to, i - first, i * g->cluster_size | QB_ENTRY_COPIED,
                             QB_ALL_ALLOCATED);
    }
}

/* The place in the list of the first table with this index or a larger one. */
static size_t table_from(const struct convert *c, uint64_t l1_index)
{
    size_t low = 0, high = c->l1_indexes.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->l1_indexes.items[mid] < l1_index)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* `at` bytes into the L1 table. */
static void fill_l1(const struct qb_plan *plan, const struct convert *c, uint64_t at, uint8_t *to)
{
    uint64_t cs = plan->in.img->geom.cluster_size, first = at / 8, end = first + cs / 8;

    for (size_t i = table_from(c, first); i < c->l1_indexes.n && c->l1_indexes.items[i] < end;
         i++) {
        be64 entry = be64_of((plan->contents.items[c->tables].offset + i * cs) | QB_ENTRY_COPIED);

        memcpy(to + 8 * (c->l1_indexes.items[i] - first), &entry, sizeof(entry));
    }
}

static int fill(struct qb_io *io, const struct qb_plan *plan, size_t index, uint64_t at,
                uint8_t *to, struct qb_err *err)
{
    const struct convert *c = plan->own[QB_RULE_convert];

    if (index == c->l1)
        fill_l1(plan, c, at, to);
    else if (c->copies && index == c->copy)
        return fill_copy(io, plan, to, err);
    else
        fill_table(plan, c, c->l1_indexes.items[at / plan->in.img->geom.cluster_size], to);
    return 0;
}

/* ---- verification ---------------------------------------------------------------------------- */

struct verifying {
    struct qb_io *io;
    const struct qb_plan *plan;
    const struct qb_image *now;
    struct qb_tables tables;
    uint64_t n; /* entries */
};

static int verify_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct verifying *v = arg;
    const struct convert *c = v->plan->own[QB_RULE_convert];
    const struct qb_geom *g = &v->now->geom;
    const struct qb_l2_table *t = &v->tables.items[index];

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t cluster = t->l1_index * g->l2_entries + i, entry = qb_l2_get(g, table, i, 0);
        enum qb_kind kind = qb_l2_kind_at(g, table, i);

        if (kind == QB_UNALLOCATED)
            continue;
        v->n++;
        if (kind != QB_DATA ||
            (entry & QB_ENTRY_OFFSET) != (cluster ? cluster * g->cluster_size : c->copy_at))
            return qb_fail(err, QB_E_VERIFY, t->offset + i * g->l2_entry_size,
                           "guest cluster %llu is not mapped to its own place",
                           (unsigned long long)cluster);
    }
    return 0;
}

/* The copy must be what the first cluster was: its rest is still there. */
static int verify_copy(const struct verifying *v, struct qb_err *err)
{
    const struct convert *c = v->plan->own[QB_RULE_convert];
    const struct qb_image *img = v->plan->in.img;
    uint64_t cs = img->geom.cluster_size, len = QB_MIN(cs, img->raw_end);
    QB_AUTO(qb_buf) uint8_t *was = calloc(1, cs), *copy = malloc(cs);

    if (!c->copies)
        return 0;
    if (!was || !copy)
        return qb_fail_memory(err);
    if (qb_io_read(v->io, img->file, 0, was, len, "the first cluster", err) < 0 ||
        qb_io_read(v->io, img->file, c->copy_at, copy, cs, "its copy", err) < 0)
        return -1;
    memcpy(was, v->plan->old_sector, QB_MIN(len, (uint64_t)QB_SECTOR));
    if (memcmp(was, copy, cs) != 0)
        return qb_fail(err, QB_E_VERIFY, c->copy_at,
                       "the copy of the disk's first cluster is not what it should be");
    return 0;
}

static int verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                  struct qb_err *err)
{
    struct verifying v = {io, plan, now, {0}, 0};
    uint64_t limit = plan->in.rq->memory_limit ? plan->in.rq->memory_limit : QB_CENSUS_MEMORY;
    int r;

    if (!plan->own[QB_RULE_convert])
        return 0;
    r = qb_tables_gather(io, now, limit, NULL, NULL, &v.tables, err);
    if (r == 0)
        r = qb_tables_scan(&(struct qb_table_scan){io, now, &v.tables, false, verify_table, &v},
                           err);
    qb_tables_free(&v.tables);
    if (r == 0 && v.n != ((const struct convert *)plan->own[QB_RULE_convert])->n)
        r = qb_fail(err, QB_E_VERIFY, now->header.l1_offset,
                    "not as many clusters are mapped as the raw disk has");
    return r < 0 ? -1 : verify_copy(&v, err);
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->converted = plan->own[QB_RULE_convert] != NULL;
}

static void drop(void *own)
{
    qb_vec_free(&((struct convert *)own)->l1_indexes);
}

const struct qb_rule qb_rule_convert = {
    .name = "convert",
    .resolve = resolve,
    .check = check,
    .placed = placed,
    .fill = fill,
    .verify = verify,
    .report = report,
    .drop = drop,
};
