#include "check/signs_parts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "check/lost.h"

#define READ_MAX (UINT64_C(64) << 20) /* bytes of leaked clusters that are looked at */

/* ---- what is remembered ---------------------------------------------------------------------- */

void qb_signs_begin(struct qb_signs *s, const struct qb_image *img, qb_finding_fn *found, void *arg)
{
    s->img = img;
    s->found = found;
    s->arg = arg;
    s->n_leaks = s->n_tables = 0;
}

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

static bool is_leaked(void *arg, uint64_t cluster)
{
    const struct qb_signs *s = arg;
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

static struct qb_guest_range where(const struct qb_image *img, const struct qb_gaps *gaps)
{
    return gaps->n == 1 ? qb_sign_guest(img, gaps->first, 1)
                        : (struct qb_guest_range){QB_NOWHERE, gaps->n ? img->geom.l1_span : 0};
}

/* Clusters of the leaked stretches, as many as are looked at. */
static int find_lost_tables(struct qb_io *io, struct qb_signs *s, struct qb_census *c,
                            const struct qb_gaps *gaps, uint8_t *buf, uint64_t *found,
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
            lost = rc ? qb_lost_names(s->img, buf, is_leaked, s) : 0;
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
static void tell_stretches(const struct qb_signs *s, const struct qb_gaps *gaps)
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
    struct qb_gaps gaps;
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
    if (qb_gaps_find(io, c, 0, &gaps, err) < 0 ||
        find_lost_tables(io, s, c, &gaps, buf, &lost, err) < 0)
        return -1;
    if (lost == 0 && gaps.n > 0)
        tell_stretches(s, &gaps);
    return 0;
}
