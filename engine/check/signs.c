#include "check/signs_parts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define READ_MAX (UINT64_C(64) << 20) /* bytes of leaked clusters that are looked at */

/* ---- what is remembered ---------------------------------------------------------------------- */

static void add_leak(struct qb_signs *s, uint64_t cluster)
{
    struct qb_count_run *last = s->n_leaks ? &s->leaks[s->n_leaks - 1] : NULL;

    if (last && last->end == cluster)
        last->end++;
    else if (s->n_leaks < QB_SIGNS_LEAKS && (!last || last->end < cluster))
        s->leaks[s->n_leaks++] = (struct qb_count_run){cluster, cluster + 1, 0};
}

/* Entries of a table are met one after the other; one may have several findings. */
static void add_bad_entry(struct qb_signs *s, uint64_t cluster, uint64_t at)
{
    struct qb_bad_table *last = s->n_tables ? &s->tables[s->n_tables - 1] : NULL;

    if (last && last->cluster == cluster) {
        last->entries += at != last->last_at;
        last->last_at = at;
        return;
    }
    if (last && last->entries < QB_SIGNS_BAD_MIN)
        s->n_tables--; /* it is no sign, and its place is taken */
    if (s->n_tables < QB_SIGNS_TABLES)
        s->tables[s->n_tables++] = (struct qb_bad_table){cluster, at, 1};
}

static bool is_of_entry(enum qb_defect defect)
{
    switch (defect) {
    case QB_DEFECT_L1_ENTRY_RESERVED:
    case QB_DEFECT_L1_ENTRY_UNALIGNED:
    case QB_DEFECT_L1_ENTRY_PAST_END:
    case QB_DEFECT_L2_ENTRY_RESERVED:
    case QB_DEFECT_L2_ENTRY_UNALIGNED:
    case QB_DEFECT_L2_ENTRY_PAST_END:
    case QB_DEFECT_L2_SUBCLUSTERS_INVALID:
    case QB_DEFECT_COMPRESSED_COPIED:
    case QB_DEFECT_COMPRESSED_PAST_END:
        return true;
    default:
        return false;
    }
}

void qb_signs_note(void *signs, const struct qb_found *found)
{
    struct qb_signs *s = signs;
    enum qb_defect defect = qb_defect_named(found->code);
    uint64_t cluster = found->offset >> s->img->geom.cluster_bits;

    if (defect == QB_DEFECT_CLUSTER_LEAKED)
        add_leak(s, cluster);
    else if (is_of_entry(defect))
        add_bad_entry(s, cluster, found->offset);
    s->found(s->arg, found);
}

void qb_sign_tell(const struct qb_signs *s, enum qb_defect defect, uint64_t offset,
                  const struct qb_guest_range *guest, const char *fmt, ...)
{
    char text[240];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    s->found(s->arg, &(struct qb_found){.kind = QB_FOUND_SIGN,
                                        .code = qb_defects[defect].name,
                                        .offset = offset,
                                        .text = text,
                                        .guest_offset = guest->offset,
                                        .guest_bytes = guest->bytes});
}

int qb_sign_look(struct qb_io *io, const struct qb_signs *s, uint64_t at, uint8_t *buf, uint64_t n,
                 struct qb_err *err)
{
    struct qb_req one = {
        .file = s->img->file, .op = QB_OP_READ, .offset = at, .len = n, .buf = buf};

    if (qb_io_go_on(io, err) < 0)
        return -1;
    if (qb_io_run(io, &one, 1) == 0)
        return 1;
    return one.error == ECANCELED ? qb_io_fail(&one, "a table", err) : 0;
}

/* VM state has no end that is known here. */
struct qb_guest_range qb_sign_guest(const struct qb_image *img, uint64_t l1_index, uint64_t n)
{
    uint64_t offset = l1_index * img->geom.l1_span, size = img->header.size;
    uint64_t left = offset < size ? size - offset : UINT64_MAX;

    return (struct qb_guest_range){offset, QB_MIN(n * img->geom.l1_span, left)};
}

/* ---- tables that nothing names --------------------------------------------------------------- */

static bool is_leaked(const struct qb_signs *s, uint64_t cluster)
{
    size_t first = 0, end = s->n_leaks;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (s->leaks[middle].end <= cluster)
            first = middle + 1;
        else
            end = middle;
    }
    return first < s->n_leaks && s->leaks[first].first <= cluster;
}

/* How many clusters a leaked cluster names that are leaked with it, if all of it can be the entries
 * of an L2 table, of which at least half are these; else 0. */
static uint64_t names_of_lost(const struct qb_signs *s, const uint8_t *table)
{
    const struct qb_geom *g = &s->img->geom;
    uint64_t named = 0, lost = 0;

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = qb_l2_get(g, table, i, 0);
        bool compressed = entry & QB_ENTRY_COMPRESSED;
        uint64_t offset = compressed ? qb_l2_compressed(g, entry).offset : entry & QB_ENTRY_OFFSET;

        if (entry <= QB_ENTRY_ZERO)
            continue;
        if (offset == 0 || offset >= s->img->file->size ||
            (!compressed && ((entry & QB_L2_RESERVED) || offset % g->cluster_size)))
            return 0;
        named++;
        lost += is_leaked(s, offset >> g->cluster_bits);
    }
    return 2 * lost >= named ? lost : 0;
}

/* The stretches of the active layer's disk that no L2 table maps, or one without any entry: one of
 * them was a lost one's. */
struct gaps {
    uint64_t mapped, end; /* L1 entries */
    uint64_t n, first;
};

static int count_gap(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct gaps *gaps = arg;

    (void)err;
    if (index >= gaps->end || !(entry & QB_ENTRY_OFFSET))
        return 0;
    if (index > gaps->mapped && gaps->n == 0)
        gaps->first = gaps->mapped;
    gaps->n += index - gaps->mapped;
    gaps->mapped = index + 1ull;
    return 0;
}

/* Tables that were overwritten with zeros; a discard may leave such, too. */
static void count_empty(const struct qb_census *c, struct gaps *gaps)
{
    for (size_t i = 0; i < c->tables.n; i++) {
        const struct qb_l2_table *t = &c->tables.items[i];
        const struct qb_table_note *note = &c->notes[i];

        if (!t->active || t->l1_index >= gaps->end ||
            note->data + note->compressed + note->zero_plain + note->zero_allocated)
            continue;
        if (gaps->n++ == 0)
            gaps->first = t->l1_index;
    }
}

static int find_gaps(struct qb_io *io, const struct qb_census *c, struct gaps *out,
                     struct qb_err *err)
{
    const struct qb_image *img = c->img;
    const struct qb_header *h = &img->header;

    *out = (struct gaps){.end = QB_MIN(qb_geom_l1_needed(&img->geom, h->size), h->l1_size)};
    if (qb_image_scan_entries(&(struct qb_entry_scan){io, img, h->l1_offset, h->l1_size,
                                                      "an L1 table", count_gap, out},
                              err) < 0)
        return -1;
    if (out->n == 0)
        out->first = out->mapped;
    out->n += out->end - out->mapped;
    count_empty(c, out);
    return 0;
}

static struct qb_guest_range where(const struct qb_image *img, const struct gaps *gaps)
{
    return gaps->n == 1 ? qb_sign_guest(img, gaps->first, 1)
                        : (struct qb_guest_range){QB_NOWHERE, gaps->n ? img->geom.l1_span : 0};
}

/* Clusters of the leaked stretches, as many as are looked at. */
static int find_lost_tables(struct qb_io *io, const struct qb_signs *s, struct qb_census *c,
                            const struct gaps *gaps, uint8_t *buf, uint64_t *found,
                            struct qb_err *err)
{
    const struct qb_geom *g = &s->img->geom;
    struct qb_guest_range guest = where(s->img, gaps);
    uint64_t left = READ_MAX / g->cluster_size;
    int rc;

    for (size_t i = 0; i < s->n_leaks; i++)
        for (uint64_t n = s->leaks[i].first; left > 0 && n < s->leaks[i].end; n++, left--) {
            uint64_t at = n * g->cluster_size, lost;
            struct qb_range data = qb_file_data_part(s->img->file, at, g->cluster_size);

            if (data.first == data.end || qb_counts_get(&c->counts, n) ||
                !qb_range_ok(at, g->cluster_size, 1, s->img->file->size))
                continue;
            if ((rc = qb_sign_look(io, s, at, buf, g->cluster_size, err)) < 0)
                return -1;
            lost = rc ? names_of_lost(s, buf) : 0;
            if (!lost)
                continue;
            ++*found;
            qb_sign_tell(
                s, QB_DEFECT_TABLE_LOST, at, &guest,
                "a leaked cluster is an L2 table that nothing names, with %llu leaked cluster%s; "
                "%llu stretch%s of the active layer have no entries",
                (unsigned long long)lost, lost == 1 ? "" : "s", (unsigned long long)gaps->n,
                gaps->n == 1 ? "" : "es");
        }
    return 0;
}

/* Where the table itself cannot be found, and some part of the disk has none: as many clusters in
 * one stretch as one maps. */
static void tell_stretches(const struct qb_signs *s, const struct gaps *gaps)
{
    const struct qb_geom *g = &s->img->geom;
    struct qb_guest_range guest = where(s->img, gaps);

    for (size_t i = 0; i < s->n_leaks; i++)
        if (s->leaks[i].end - s->leaks[i].first >= g->l2_entries)
            qb_sign_tell(s, QB_DEFECT_TABLE_LOST, s->leaks[i].first * g->cluster_size, &guest,
                         "a stretch of %llu leaked clusters is as much as an L2 table maps; %llu "
                         "stretch%s of the active layer have no entries",
                         (unsigned long long)(s->leaks[i].end - s->leaks[i].first),
                         (unsigned long long)gaps->n, gaps->n == 1 ? "" : "es");
}

int qb_signs_tell(struct qb_io *io, struct qb_signs *s, struct qb_census *c, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *buf = NULL;
    struct gaps gaps;
    uint64_t lost = 0;

    if (s->n_tables == 0 && s->n_leaks == 0)
        return 0;
    buf = malloc(s->img->geom.cluster_size);
    if (!buf)
        return qb_fail_memory(err);
    for (size_t i = 0; i < s->n_tables; i++)
        if (qb_sign_overwritten(io, s, c, &s->tables[i], buf, err) < 0)
            return -1;
    if (s->n_leaks == 0 || s->img->geom.external_data)
        return 0;
    if (find_gaps(io, c, &gaps, err) < 0 || find_lost_tables(io, s, c, &gaps, buf, &lost, err) < 0)
        return -1;
    if (lost == 0 && gaps.n > 0)
        tell_stretches(s, &gaps);
    return 0;
}
