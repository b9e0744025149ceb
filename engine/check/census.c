#include "check/census.h"
#include "check/luks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void keep_first(struct qb_err *first, uint64_t offset, const char *text)
{
    if (first->code == QB_E_NONE)
        qb_fail(first, QB_E_CORRUPT, offset, "%s", text);
}

static uint64_t *counter_of(struct qb_census *c, enum qb_defect_counter counter)
{
    switch (counter) {
    case QB_COUNT_OVERLAPS:
        return &c->n_overlaps;
    case QB_COUNT_BLOCKS:
        return &c->n_bad_blocks;
    case QB_COUNT_LOW:
        return &c->n_low;
    case QB_COUNT_COPIED:
        return &c->n_copied;
    case QB_COUNT_LEAKS:
        return &c->n_leaks;
    case QB_COUNT_SIGNS:
        return &c->n_signs;
    default:
        return &c->n_bad;
    }
}

void qb_census_note(struct qb_census *c, enum qb_defect defect, uint64_t offset, const char *fmt,
                    ...)
{
    enum qb_defect_counter counter = qb_defects[defect].counter;
    bool is_harmless = qb_defect_kind(defect) != QB_FOUND_CORRUPTION;
    bool lasts = counter == QB_COUNT_BAD || counter == QB_COUNT_OVERLAPS;
    char text[240];
    va_list ap;

    ++*counter_of(c, counter);
    if (!c->found && (is_harmless || (lasts ? c->first_lasting.code : c->first.code)))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!is_harmless)
        keep_first(&c->first, offset, text);
    if (lasts)
        keep_first(&c->first_lasting, offset, text);
    qb_defect_tell(c->found, c->found_arg, defect, offset, text);
}

void qb_census_place_text(const struct qb_census_place *place, char *text)
{
    snprintf(text, QB_CENSUS_PLACE_TEXT, "guest byte %llu of %s", (unsigned long long)place->guest,
             place->active ? "the active layer" : "a snapshot");
}

static int count_meta(struct qb_census *c, uint64_t offset, uint64_t len, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size, cluster = offset / cs, stop;
    uint64_t end = (offset + len - 1) / cs + 1;
    int overlaps = 0;

    for (; cluster < end; cluster = stop) {
        stop = QB_MIN((cluster / QB_PAGE_COUNTS + 1) * QB_PAGE_COUNTS, end);
        if (qb_io_go_on(c->io, err) < 0 ||
            qb_counts_add_meta(&c->counts, cluster, stop - cluster, &overlaps, err) < 0)
            return -1;
    }
    return overlaps;
}

int qb_census_meta(struct qb_census *c, uint64_t offset, uint64_t len, const char *what,
                   struct qb_err *err)
{
    if (len == 0)
        return 0;
    if (!qb_range_ok(offset, len, 1, c->img->file->size)) {
        qb_census_note(c, QB_DEFECT_METADATA_PAST_END, offset, "%s ends past the end of the file",
                       what);
        return 0;
    }
    return count_meta(c, offset, len, err);
}

static int count_l1(struct qb_census *c, struct qb_layer l, struct qb_err *err)
{
    uint64_t len = 8ull * l.l1_size;

    if (len && qb_image_l1_is_past_end(c->img, l.l1_offset))
        return count_meta(c, l.l1_offset, len, err);
    return qb_census_meta(c, l.l1_offset, len, "an L1 table", err);
}

/* What is wrong with a refcount table entry, or NULL.  A block whose cluster is in use already is
 * left out too: else a table that names one block a million times would have it read a million
 * times. */
static const char *odd_refblock(struct qb_census *c, uint64_t offset)
{
    uint64_t cs = c->img->geom.cluster_size;

    if (offset % cs)
        return "is not cluster aligned";
    if (!qb_range_ok(offset, cs, 1, c->blocks_end))
        return "ends past the end of the file";
    if (qb_counts_get(&c->counts, offset / cs))
        return "lies where something else is";
    return NULL;
}

static int count_refblocks(struct qb_census *c, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size;

    for (size_t i = 0; i < c->reftable_n; i++) {
        uint64_t offset = c->reftable[i] & QB_REFTABLE_OFFSET;
        uint64_t at = c->img->header.reftable_offset + i * 8;
        const char *odd = offset ? odd_refblock(c, offset) : NULL;

        if (offset && qb_io_go_on(c->io, err) < 0)
            return -1;
        if (c->reftable[i] & QB_REFTABLE_RESERVED)
            qb_census_note(c, QB_DEFECT_REFCOUNT_ENTRY_RESERVED, at,
                           "refcount table entry %zu has reserved bits set", i);
        if (odd) {
            qb_census_note(c, QB_DEFECT_REFCOUNT_BLOCK_INVALID, at, "refcount block %zu %s", i,
                           odd);
            c->reftable[i] = 0;
        } else if (offset && qb_census_meta(c, offset, cs, "a refcount block", err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int count_luks(struct qb_census *c, struct qb_err *err)
{
    const struct qb_ext *e = qb_ext_find(&c->img->exts, QB_EXT_LUKS);
    struct qb_disk_luks_ext luks;
    uint64_t offset, len;

    if (!e || e->len < sizeof(luks))
        return 0;
    memcpy(&luks, e->data, sizeof(luks));
    offset = be64_get(luks.offset);
    len = be64_get(luks.length);
    if (len > QB_MAX_LUKS_HEADER) {
        qb_census_note(c, QB_DEFECT_LUKS_HEADER_INVALID, offset,
                       "the LUKS header of %llu bytes is too long", (unsigned long long)len);
        return 0;
    }
    if (qb_range_ok(offset, len, 1, c->img->file->size) && qb_luks_check(c, offset, len, err) < 0)
        return -1;
    return qb_census_meta(c, offset, len, "the LUKS header", err);
}

/* Counts all metadata except the L2 tables: everything that the header leads to. */
static int count_fixed(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    const struct qb_image *img = c->img;
    const struct qb_header *h = &img->header;

    if (qb_census_meta(c, 0, QB_MIN(img->geom.cluster_size, img->file->size), "the header", err) <
        0)
        return -1;
    for (unsigned i = 0; i < qb_image_layers(img); i++) {
        if (count_l1(c, qb_image_layer(img, i), err) < 0)
            return -1;
    }
    if (h->nb_snapshots &&
        qb_census_meta(c, h->snapshots_offset, img->snapshots.len, "the snapshot table", err) < 0)
        return -1;
    if (count_luks(c, err) < 0 || qb_census_bitmaps(io, c, err) < 0)
        return -1;
    if (qb_census_meta(c, h->reftable_offset, h->reftable_clusters * img->geom.cluster_size,
                       "the refcount table", err) < 0)
        return -1;
    return count_refblocks(c, err);
}

/* Temporary memory for reading the refcount table: what the file has allocated of it.  A cluster is
 * part of the buffers that every worker has. */
static uint64_t reftable_held(const struct qb_image *img)
{
    struct qb_range part =
        qb_file_data_part(img->file, img->header.reftable_offset,
                          img->header.reftable_clusters * img->geom.cluster_size);

    return part.end - part.first - QB_MIN(part.end - part.first, img->geom.cluster_size);
}

static int count(struct qb_io *io, uint64_t memory_limit, struct qb_census *out, struct qb_err *err)
{
    const struct qb_image *img = out->img;
    uint64_t held = reftable_held(img);

    memory_limit = memory_limit ? memory_limit : QB_CENSUS_MEMORY;
    out->counts.memory_limit = memory_limit;
    out->blocks_end = out->blocks_end ? out->blocks_end : img->file->size;
    out->clusters.valid = true;
    out->clusters.total = qb_geom_clusters(&img->geom, img->header.size);
    if (qb_counts_hold(&out->counts, held, err) < 0 ||
        qb_image_read_reftable(io, img, &out->reftable, &out->reftable_n, err) < 0)
        return -1;
    qb_counts_let_go(&out->counts, held);
    if (qb_counts_hold(&out->counts, 9 * out->reftable_n, err) < 0)
        return -1;
    out->block_differs = calloc(out->reftable_n ? out->reftable_n : 1, 1);
    if (!out->block_differs)
        return qb_fail_memory(err);
    return count_fixed(io, out, err) < 0 ? -1 : qb_census_references(io, out, err);
}

int qb_census_take(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                   qb_finding_fn *found, void *arg, struct qb_census *out, struct qb_err *err)
{
    *out = (struct qb_census){.img = img, .io = io, .found = found, .found_arg = arg};
    return count(io, memory_limit, out, err) < 0 ? -1 : qb_census_compare(io, out, err);
}

int qb_census_tables(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                     qb_finding_fn *found, void *arg, struct qb_census *out, struct qb_err *err)
{
    *out = (struct qb_census){.img = img, .io = io, .found = found, .found_arg = arg};
    if (count(io, memory_limit, out, err) < 0)
        return -1;
    out->end = qb_counts_end(&out->counts) * img->geom.cluster_size;
    return 0;
}

int qb_census_take_all(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                       const struct qb_bitmaps_skipped *skips, struct qb_census *out,
                       struct qb_err *err)
{
    *out = (struct qb_census){.img = img, .io = io, .skips = skips, .wants_surplus = true};
    return count(io, memory_limit, out, err) < 0 ? -1 : qb_census_compare(io, out, err);
}

int qb_census_count(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                    struct qb_census *out, struct qb_err *err)
{
    return qb_census_count_within(io, img, memory_limit, 0, out, err);
}

int qb_census_count_within(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                           uint64_t blocks_end, struct qb_census *out, struct qb_err *err)
{
    *out = (struct qb_census){.img = img, .io = io, .blocks_end = blocks_end};
    return count(io, memory_limit, out, err);
}

void qb_census_free(struct qb_census *c)
{
    qb_tables_free(&c->tables);
    free(c->notes);
    qb_counts_free(&c->counts);
    qb_counts_free(&c->surplus);
    free(c->reftable);
    free(c->block_differs);
}
