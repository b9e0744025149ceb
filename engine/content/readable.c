#include "content/readable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "content/inflate.h"

#define REQUEST_BYTES ((uint64_t)1 << 20)

enum {
    REQUESTS = 64,
    BAD_MAX = 1000, /* clusters that cannot be read and are looked for in the tables */
};

/* A cluster that cannot be read. */
struct bad {
    uint64_t cluster;
    int errnum;
    bool mapped; /* as data; else no guest reads it */
    struct qb_census_place place;
};

struct reading {
    struct qb_io *io;
    struct qb_census *c;
    struct qb_file *file;
    uint8_t *buf;
    uint64_t used, room; /* bytes of buf */
    struct qb_req reqs[REQUESTS];
    size_t n;
    struct bad bad[BAD_MAX]; /* ascending */
    size_t n_bad;
    uint64_t more; /* clusters after these */
    struct qb_inflater *inflater;
    size_t table; /* of which the batch's clusters are */
};

/* ---- reading --------------------------------------------------------------------------------- */

static void add_bad(struct reading *r, uint64_t cluster, int errnum)
{
    if (r->n_bad < BAD_MAX)
        r->bad[r->n_bad++] = (struct bad){.cluster = cluster, .errnum = errnum};
    else
        r->more++;
}

/* A request that failed is repeated cluster by cluster. */
static int read_singly(struct reading *r, const struct qb_req *failed, struct qb_err *err)
{
    uint64_t cs = r->c->img->geom.cluster_size, end = failed->offset + failed->len, next;

    for (uint64_t at = failed->offset; at < end; at = next) {
        struct qb_req one = *failed;

        next = QB_MIN((at / cs + 1) * cs, end);
        one.offset = at;
        one.len = next - at;
        if (qb_io_go_on(r->io, err) < 0)
            return -1;
        if (qb_io_run(r->io, &one, 1) == 0)
            continue;
        if (one.error == ECANCELED)
            return qb_io_fail(&one, "guest data", err);
        add_bad(r, at / cs, one.error);
    }
    return 0;
}

/* They are in the order of the file, so that what cannot be read is, too. */
static int drain(struct reading *r, struct qb_err *err)
{
    size_t failed = qb_io_run(r->io, r->reqs, r->n);
    int rc = 0;

    for (size_t i = 0; failed && rc == 0 && i < r->n; i++) {
        if (r->reqs[i].error == ECANCELED)
            rc = qb_io_fail(&r->reqs[i], "guest data", err);
        else if (r->reqs[i].error)
            rc = read_singly(r, &r->reqs[i], err);
    }
    r->n = 0;
    r->used = 0;
    return rc;
}

/* Host bytes without a gap; what lies past the file's end reads as zeros, as holes do. */
static int read_range(struct reading *r, uint64_t first, uint64_t end, struct qb_err *err)
{
    uint64_t len;

    end = QB_MIN(end, r->file->size);
    for (; first < end; first += len) {
        uint64_t data = qb_file_next_data(r->file, first);
        struct qb_range part;

        if (data >= end)
            return 0;
        first = QB_MAX(first, data);
        len = QB_MIN(end - first, QB_MIN(REQUEST_BYTES, r->room));
        part = qb_file_data_part(r->file, first, len);
        if (part.first == part.end)
            continue;
        if (qb_io_go_on(r->io, err) < 0 ||
            ((r->n == REQUESTS || r->used + len > r->room) && drain(r, err) < 0))
            return -1;
        r->reqs[r->n++] = (struct qb_req){.file = r->file,
                                          .op = QB_OP_READ,
                                          .offset = part.first,
                                          .len = part.end - part.first,
                                          .buf = r->buf + r->used};
        r->used += len;
    }
    return 0;
}

static int read_page(struct reading *r, const struct qb_count_page *p, struct qb_err *err)
{
    uint64_t cs = r->c->img->geom.cluster_size, base = p->number * QB_PAGE_COUNTS;
    unsigned end;

    if (qb_io_go_on(r->io, err) < 0)
        return -1;
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i = end) {
        end = i + 1;
        if (!qb_page_has_data(p, i))
            continue;
        while (end < QB_PAGE_COUNTS && qb_page_has_data(p, end))
            end++;
        if (read_range(r, (base + i) * cs, (base + end) * cs, err) < 0)
            return -1;
    }
    return 0;
}

static int read_counted(struct reading *r, struct qb_err *err)
{
    struct qb_count_page *const *pages = qb_counts_pages(&r->c->counts);

    for (size_t i = 0; i < r->c->counts.n_pages; i++)
        if (read_page(r, pages[i], err) < 0)
            return -1;
    return 0;
}

/* A data file has each cluster at its guest offset, and no counts. */
static int read_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct reading *r = arg;
    const struct qb_geom *g = &r->c->img->geom;
    const struct qb_l2_table *t = &r->c->tables.items[index];

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t at = t->l1_index * g->l1_span + i * g->cluster_size;
        enum qb_kind kind = qb_l2_kind_at(g, table, i);

        if ((kind == QB_DATA || kind == QB_PARTIAL) &&
            (qb_l2_get(g, table, i, 0) & QB_ENTRY_OFFSET) == at &&
            read_range(r, at, at + g->cluster_size, err) < 0)
            return -1;
    }
    return 0;
}

static int scan(struct reading *r, qb_table_fn *fn, struct qb_err *err)
{
    return qb_tables_scan(&(struct qb_table_scan){r->io, r->c->img, &r->c->tables, true, fn, r},
                          err);
}

/* ---- what the guest cannot read -------------------------------------------------------------- */

static void mark(struct reading *r, uint64_t first, uint64_t last, struct qb_census_place place)
{
    size_t i = 0, end = r->n_bad;

    while (i < end) {
        size_t middle = i + (end - i) / 2;

        if (r->bad[middle].cluster < first)
            i = middle + 1;
        else
            end = middle;
    }
    for (; i < r->n_bad && r->bad[i].cluster <= last; i++) {
        struct bad *b = &r->bad[i];

        if (!b->mapped || (place.active && !b->place.active))
            b->place = place;
        b->mapped = true;
    }
}

static int find_guests(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct reading *r = arg;
    const struct qb_geom *g = &r->c->img->geom;

    (void)err;
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        enum qb_kind kind = qb_l2_kind_at(g, table, i);
        uint64_t entry = qb_l2_get(g, table, i, 0), first, last;
        struct qb_compressed z = qb_l2_compressed(g, entry);

        if (kind != QB_DATA && kind != QB_PARTIAL && kind != QB_COMPRESSED)
            continue;
        first = last = (entry & QB_ENTRY_OFFSET) >> g->cluster_bits;
        if (kind == QB_COMPRESSED) {
            first = z.offset >> g->cluster_bits;
            last = (z.offset + z.available - 1) >> g->cluster_bits;
        }
        mark(r, first, last, qb_census_place_of(g, &r->c->tables.items[index], i));
    }
    return 0;
}

static int note_bad(struct reading *r, struct qb_err *err)
{
    char place[QB_CENSUS_PLACE_TEXT];

    if (r->n_bad && scan(r, find_guests, err) < 0)
        return -1;
    for (const struct bad *b = r->bad; b < r->bad + r->n_bad; b++) {
        if (!b->mapped)
            continue;
        qb_census_place_text(&b->place, place);
        qb_census_note(r->c, QB_DEFECT_DATA_UNREADABLE, b->cluster << r->c->img->geom.cluster_bits,
                       "the cluster of %s cannot be read: %s", place, strerror(b->errnum));
    }
    for (; r->more; r->more--)
        qb_census_note(r->c, QB_DEFECT_DATA_UNREADABLE, QB_NOWHERE,
                       "a cluster, after %d others, cannot be read", BAD_MAX);
    return 0;
}

/* ---- compressed clusters --------------------------------------------------------------------- */

/* Those that cannot be read were found before.  The tag is the entry's index. */
static int inflate_batch(struct reading *r, struct qb_err *err)
{
    struct qb_inflater *f = r->inflater;
    const struct qb_l2_table *t = &r->c->tables.items[r->table];
    char text[QB_CENSUS_PLACE_TEXT];

    if (qb_inflater_run(f, r->io, err) < 0)
        return -1;
    for (size_t i = 0; i < f->n; i++) {
        struct qb_census_place place = qb_census_place_of(&r->c->img->geom, t, f->batch[i].tag);

        if (f->batch[i].failed == QB_E_NONE)
            continue;
        if (f->batch[i].failed == QB_E_MEMORY)
            return qb_fail_memory(err);
        qb_census_place_text(&place, text);
        qb_census_note(r->c, QB_DEFECT_COMPRESSED_INVALID, f->batch[i].offset,
                       "the compressed cluster of %s does not inflate", text);
    }
    f->n = 0;
    return 0;
}

static int inflate_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct reading *r = arg;
    const struct qb_geom *g = &r->c->img->geom;

    if (r->c->notes[index].compressed == 0)
        return 0;
    r->table = index;
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, table, i, 0);
        struct qb_compressed z = qb_l2_compressed(g, entry);

        if (!(entry & QB_ENTRY_COMPRESSED) || z.offset >= r->file->size)
            continue;
        qb_inflater_add(r->inflater, entry, QB_MIN(z.available, r->file->size - z.offset), z.offset,
                        i);
        if (qb_inflater_is_full(r->inflater) && inflate_batch(r, err) < 0)
            return -1;
    }
    return inflate_batch(r, err);
}

static int inflate_all(struct reading *r, struct qb_err *err)
{
    int rc;

    r->inflater = qb_inflater_new(r->io, r->c->img, r->file, &r->c->counts, err);
    rc = r->inflater ? scan(r, inflate_table, err) : -1;
    qb_inflater_free(r->inflater);
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int read_all(struct reading *r, struct qb_err *err)
{
    const struct qb_image *img = r->c->img;
    int rc = img->geom.external_data ? scan(r, read_table, err) : read_counted(r, err);

    if (rc < 0 || drain(r, err) < 0 || note_bad(r, err) < 0)
        return -1;
    if (!r->c->clusters.compressed || img->geom.external_data)
        return 0;
    return inflate_all(r, err);
}

int qb_readable_check(struct qb_io *io, struct qb_census *c, struct qb_file *data,
                      struct qb_err *err)
{
    uint64_t room = qb_max(qb_io_window(io), c->img->geom.cluster_size);
    QB_AUTO(qb_buf) struct reading *r = NULL;
    QB_AUTO(qb_buf) uint8_t *buf = NULL;

    if (qb_counts_hold(&c->counts, sizeof(*r) + room, err) < 0)
        return -1;
    r = calloc(1, sizeof(*r));
    buf = malloc(room);
    if (!r || !buf)
        return qb_fail_memory(err);
    r->io = io;
    r->c = c;
    r->file = data;
    r->buf = buf;
    r->room = room;
    return read_all(r, err);
}
