/* Counts what L1 and L2 entries refer to. */
#include "check/census.h"
#include "check/data_end.h"
#include "check/plain_entries.h"
#include "check/version2.h"

static void note_l1_oddity(void *arg, enum qb_l1_oddity what, unsigned layer, uint64_t at,
                           uint64_t entry)
{
    static const char *const words[] = {"has reserved bits set", "is not cluster aligned",
                                        "points past the end of the file"};
    static const enum qb_defect defects[] = {
        QB_DEFECT_L1_ENTRY_RESERVED, QB_DEFECT_L1_ENTRY_UNALIGNED, QB_DEFECT_L1_ENTRY_PAST_END};
    struct qb_census *c = arg;

    qb_census_note(c, defects[what], at, "L1 entry 0x%llx of %s %u %s", (unsigned long long)entry,
                   layer ? "snapshot" : "the active layer, table", layer, words[what]);
}

/* L2 tables are counted as often as L1 entries name them. */
static int count_tables(struct qb_census *c, struct qb_err *err)
{
    for (size_t i = 0; i < c->tables.n; i++) {
        const struct qb_l2_table *t = &c->tables.items[i];
        uint64_t cluster = t->offset >> c->img->geom.cluster_bits;
        unsigned marks = QB_MARK_META;

        if (i % 1024 == 0 && qb_io_go_on(c->io, err) < 0)
            return -1;
        if (qb_counts_get(&c->counts, cluster))
            marks |= QB_MARK_OVERLAP;
        if (qb_counts_add(&c->counts, cluster, t->refs, marks, err) < 0)
            return -1;
    }
    return 0;
}

/* No tool writes such an entry. */
static void note_header(struct qb_census *c, uint64_t at, const char *what, uint64_t entry)
{
    qb_census_note(c, QB_DEFECT_ENTRY_NAMES_HEADER, at,
                   "%s entry 0x%llx has COPIED set, and names the header", what,
                   (unsigned long long)entry);
}

/* Notes the COPIED flags of the active L1 table's entries, for the comparison with the counts. */
static int mark_copied(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct qb_census *c = arg;
    uint64_t offset = entry & QB_ENTRY_OFFSET;

    if (!offset && (entry & QB_ENTRY_COPIED))
        note_header(c, c->img->header.l1_offset + 8ull * index, "L1", entry);
    if (!offset || !qb_tables_find(&c->tables, offset))
        return 0;
    return qb_counts_add(&c->counts, offset >> c->img->geom.cluster_bits, 0,
                         entry & QB_ENTRY_COPIED ? QB_MARK_COPIED : QB_MARK_PLAIN, err);
}

static int mark_l1_copied(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    const struct qb_header *h = &c->img->header;

    return qb_image_scan_entries(&(struct qb_entry_scan){io, c->img, h->l1_offset, h->l1_size,
                                                         "an L1 table", mark_copied, c},
                                 err);
}

static int count_compressed(struct qb_census *c, const struct qb_l2_table *t, uint64_t at,
                            uint64_t entry, struct qb_err *err)
{
    const struct qb_geom *g = &c->img->geom;
    struct qb_compressed z = qb_l2_compressed(g, entry);
    uint64_t first = z.offset >> g->cluster_bits;
    uint64_t last = ((z.offset & ~(uint64_t)(QB_SECTOR - 1)) +
                     (z.available + (z.offset & (QB_SECTOR - 1))) - 1) >>
                    g->cluster_bits;

    if (entry & QB_ENTRY_COPIED)
        qb_census_note(c, QB_DEFECT_COMPRESSED_COPIED, at, "compressed entry 0x%llx has COPIED set",
                       (unsigned long long)entry);
    if (g->external_data) {
        qb_census_note(c, QB_DEFECT_COMPRESSED_WITH_DATA_FILE, at,
                       "compressed entry 0x%llx in an image with a data file",
                       (unsigned long long)entry);
        return 0;
    }
    if (z.offset >= c->img->file->size || last > qb_div_up(c->img->file->size, g->cluster_size)) {
        qb_census_note(c, QB_DEFECT_COMPRESSED_PAST_END, at,
                       "compressed entry 0x%llx points past the end of the file",
                       (unsigned long long)entry);
        return 0;
    }
    return qb_counts_add_data(&c->counts, first, last - first + 1, t->refs, 0, err);
}

/* A data file holds each cluster at its guest offset. */
static void check_place(struct qb_census *c, const struct qb_l2_table *t, uint64_t at,
                        uint64_t offset)
{
    const struct qb_geom *g = &c->img->geom;
    uint64_t i = (at - t->offset) / g->l2_entry_size;
    uint64_t guest = t->l1_index * g->l1_span + i * g->cluster_size;

    if (offset != guest)
        qb_census_note(c, QB_DEFECT_DATA_MISPLACED, at,
                       "an L2 entry names offset 0x%llx of the data file for guest offset 0x%llx",
                       (unsigned long long)offset, (unsigned long long)guest);
}

/* A data file has no refcounts: each of its clusters belongs to one entry of the active layer,
 * which QEMU wants to have COPIED set. */
static void check_data_flags(struct qb_census *c, const struct qb_l2_table *t, uint64_t at,
                             uint64_t entry, uint64_t n)
{
    if (!t->active || (entry & QB_ENTRY_COPIED))
        return;
    c->copied_wrong = true;
    for (uint64_t i = 0; i < n; i++)
        qb_census_note(c, QB_DEFECT_COPIED_FLAG_WRONG, at + i * c->img->geom.l2_entry_size,
                       "an L2 entry of a cluster in the data file lacks the COPIED flag");
}

/* Counts `n` entries with consecutive host clusters: data, or preallocated clusters of zero
 * entries. */
static int count_data(struct qb_census *c, const struct qb_l2_table *t, uint64_t at, uint64_t entry,
                      uint64_t n, struct qb_err *err)
{
    const struct qb_geom *g = &c->img->geom;
    uint64_t offset = entry & QB_ENTRY_OFFSET;
    unsigned marks = 0;

    if (offset % g->cluster_size) {
        qb_census_note(c, QB_DEFECT_L2_ENTRY_UNALIGNED, at,
                       "L2 entry 0x%llx is not cluster aligned", (unsigned long long)entry);
        return 0;
    }
    if (g->external_data) {
        check_place(c, t, at, offset);
        check_data_flags(c, t, at, entry, n);
        return 0;
    }
    /* The last cluster of the file may be partial. */
    if (offset >= c->img->file->size) {
        qb_census_note(c, QB_DEFECT_L2_ENTRY_PAST_END, at,
                       "L2 entry 0x%llx points past the end of the file",
                       (unsigned long long)entry);
        return 0;
    }
    if (t->active)
        marks = entry & QB_ENTRY_COPIED ? QB_MARK_COPIED : QB_MARK_PLAIN;
    return qb_counts_add_data(&c->counts, offset >> g->cluster_bits, n, t->refs, marks, err);
}

/* The number of entries from `i` on that name consecutive clusters, inside the file or in the data
 * file. */
static uint64_t run_length(const struct qb_census *c, const uint8_t *table, uint64_t i,
                           uint64_t entry)
{
    const struct qb_geom *g = &c->img->geom;
    uint64_t n = 1;

    if (g->l2_entry_size != 8)
        return 1;
    while (
        i + n < g->l2_entries && qb_l2_get(g, table, i + n, 0) == entry + n * g->cluster_size &&
        (g->external_data || (entry & QB_ENTRY_OFFSET) + n * g->cluster_size < c->img->file->size))
        n++;
    return n;
}

void qb_census_meet(struct qb_census_place *first, struct qb_census_place place)
{
    if (place.at && (!first->at || place.at < first->at))
        *first = place;
}

struct qb_census_place qb_census_place_of(const struct qb_geom *g, const struct qb_l2_table *t,
                                          uint64_t i)
{
    return (struct qb_census_place){
        .at = t->offset + i * g->l2_entry_size,
        .guest = t->l1_index * g->l1_span + i * g->cluster_size,
        .active = t->active,
    };
}

/* The zero flag of an extended entry means nothing, to QEMU either. */
static void check_bits(struct qb_census *c, const uint8_t *table, uint64_t i, uint64_t at,
                       uint64_t entry, enum qb_kind kind)
{
    const struct qb_geom *g = &c->img->geom;
    uint64_t bitmap = g->l2_entry_size == 16 ? qb_l2_get(g, table, i, 1) : 0;

    if (kind != QB_COMPRESSED && (entry & QB_L2_RESERVED))
        qb_census_note(c, QB_DEFECT_L2_ENTRY_RESERVED, at, "L2 entry 0x%llx has reserved bits set",
                       (unsigned long long)entry);
    if ((kind == QB_COMPRESSED && bitmap) || (kind == QB_UNALLOCATED && (uint32_t)bitmap) ||
        ((uint32_t)bitmap & bitmap >> 32))
        qb_census_note(c, QB_DEFECT_L2_SUBCLUSTERS_INVALID, at,
                       "L2 entry 0x%llx has an impossible subcluster bitmap 0x%llx",
                       (unsigned long long)entry, (unsigned long long)bitmap);
}

/* Counts entry `i`, and those after it that continue it, and says how many these are. */
static int count_other(struct qb_census *c, size_t index, const uint8_t *table, uint64_t i,
                       uint64_t *n, struct qb_err *err)
{
    const struct qb_geom *g = &c->img->geom;
    const struct qb_l2_table *t = &c->tables.items[index];
    struct qb_table_note *note = &c->notes[index];
    uint64_t entry = qb_l2_get(g, table, i, 0), at = t->offset + i * g->l2_entry_size;
    enum qb_kind kind = qb_l2_kind_at(g, table, i);
    int r = 0;

    *n = 1;
    check_bits(c, table, i, at, entry, qb_l2_kind(g, entry));
    if (kind == QB_COMPRESSED) {
        if (note->compressed++ == 0)
            qb_census_meet(&c->first_compressed, qb_census_place_of(g, t, i));
        r = count_compressed(c, t, at, entry, err);
    } else if (qb_l2_has_host(kind)) {
        if (kind == QB_PARTIAL && c->n_partial++ == 0)
            c->first_partial = qb_census_place_of(g, t, i);
        *n = run_length(c, table, i, entry);
        *(kind == QB_ZERO_ALLOCATED ? &note->zero_allocated : &note->data) += (uint32_t)*n;
        if (qb_l2_kind(g, entry) != QB_UNALLOCATED)
            r = count_data(c, t, at, entry, *n, err);
        if (g->external_data) /* of a run the last one reaches farthest */
            c->data_end = qb_max(c->data_end, qb_data_end_of(c->img, t, table, i + *n - 1));
    } else {
        note->zero_plain += kind == QB_ZERO_PLAIN;
        if (entry & QB_ENTRY_COPIED)
            note_header(c, at, "L2", entry);
    }
    return r;
}

int qb_census_count_table(struct qb_census *c, size_t index, const uint8_t *table, uint64_t from,
                          struct qb_err *err)
{
    const struct qb_geom *g = &c->img->geom;
    struct qb_plain_entries plain = {c->img, &c->counts, {0}};
    bool knows = qb_plain_knows(c->img);
    uint64_t i = from, n = 0;

    for (; i < g->l2_entries; i += n) {
        if (knows && qb_plain_count(&plain, &c->tables.items[index], table, i, &c->notes[index], &i,
                                    err) < 0)
            return -1;
        n = 0;
        if (i < g->l2_entries && count_other(c, index, table, i, &n, err) < 0)
            return -1;
    }
    qb_census_meet(&c->first_compressed, plain.first_compressed);
    return 0;
}

static void sum_up(struct qb_census *c)
{
    for (size_t i = 0; i < c->tables.n; i++) {
        c->clusters.allocated += c->notes[i].data;
        c->clusters.compressed += c->notes[i].compressed;
        c->clusters.zero_plain += c->notes[i].zero_plain;
        c->clusters.zero_allocated += c->notes[i].zero_allocated;
    }
}

static int note_version2_zeros(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    uint64_t n = c->clusters.zero_plain + c->clusters.zero_allocated, at;

    if (n == 0)
        return 0;
    if (qb_version2_first(io, c->img, &c->tables, &at, err) < 0)
        return -1;
    qb_census_note(c, QB_DEFECT_ZERO_CLUSTER_IN_VERSION_2, at,
                   "a version 2 image has %llu zero cluster%s", (unsigned long long)n,
                   n == 1 ? "" : "s, of which this is the first");
    return 0;
}

int qb_census_references(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    uint64_t room = c->counts.memory_limit - c->counts.memory;

    if (qb_tables_gather(io, c->img, room, note_l1_oddity, c, &c->tables, err) < 0 ||
        qb_counts_hold(&c->counts, c->tables.cap * sizeof(*c->tables.items), err) < 0 ||
        qb_counts_hold(&c->counts, c->tables.n * sizeof(*c->notes), err) < 0)
        return -1;
    c->notes = calloc(c->tables.n ? c->tables.n : 1, sizeof(*c->notes));
    if (!c->notes)
        return qb_fail_memory(err);
    if (count_tables(c, err) < 0 || mark_l1_copied(io, c, err) < 0)
        return -1;
    if (qb_census_count_tables(io, c, err) < 0)
        return -1;
    sum_up(c);
    return c->img->header.version == 2 ? note_version2_zeros(io, c, err) : 0;
}
