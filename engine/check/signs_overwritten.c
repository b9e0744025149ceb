/* Finds tables that were overwritten: of which many entries cannot be. */
#include "check/signs_parts.h"

/* Of a table in its on-disk form: entries of `size` bytes, of which the first word says it all. */
static uint64_t count_named(const uint8_t *table, uint64_t bytes, unsigned size)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i + size <= bytes; i += size)
        n += !qb_all_zero(table + i, 8);
    return n;
}

/* A table, or the part of it in one cluster. */
struct part {
    const char *level;
    bool active;
    uint64_t at, bytes; /* of the file */
    unsigned entry_size;
    struct qb_guest_range guest;
};

/* The L1 table that has entries in this cluster of the file. */
static bool find_l1(const struct qb_image *img, uint64_t cluster, struct part *out)
{
    uint64_t cs = img->geom.cluster_size;

    for (unsigned i = 0; i < qb_image_layers(img); i++) {
        struct qb_layer l = qb_image_layer(img, i);
        uint64_t first = QB_MAX(l.l1_offset, cluster * cs);
        uint64_t end = QB_MIN(l.l1_offset + 8ull * l.l1_size, (cluster + 1) * cs);

        end = QB_MIN(end, img->file->size);
        if (first >= end)
            continue;
        *out = (struct part){
            "L1",        i == 0, first,
            end - first, 8,      qb_sign_guest(img, (first - l.l1_offset) / 8, (end - first) / 8)};
        return true;
    }
    return false;
}

static bool find_part(const struct qb_image *img, const struct qb_census *c, uint64_t cluster,
                      struct part *out)
{
    const struct qb_geom *g = &img->geom;
    uint64_t at = cluster * g->cluster_size;
    const struct qb_l2_table *t = qb_tables_find(&c->tables, at);

    if (!t)
        return find_l1(img, cluster, out);
    *out = (struct part){"L2",
                         t->active,
                         at,
                         g->cluster_size,
                         (unsigned)g->l2_entry_size,
                         qb_sign_guest(img, t->l1_index, 1)};
    return true;
}

int qb_sign_overwritten(struct qb_io *io, const struct qb_signs *s, const struct qb_census *c,
                        const struct qb_bad_table *bad, uint8_t *buf, struct qb_err *err)
{
    struct part p;
    uint64_t named;
    int rc;

    if (bad->entries < QB_SIGNS_BAD_MIN || !find_part(s->img, c, bad->cluster, &p))
        return 0;
    if ((rc = qb_sign_look(io, s, p.at, buf, p.bytes, err)) <= 0)
        return rc;
    named = count_named(buf, p.bytes, p.entry_size);
    if (bad->entries < named / 2)
        return 0;
    qb_sign_tell(s, QB_DEFECT_TABLE_OVERWRITTEN, p.at, &p.guest,
                 "an %s table of %s has %llu entries, of which %llu cannot be: it was overwritten",
                 p.level, p.active ? "the active layer" : "a snapshot", (unsigned long long)named,
                 (unsigned long long)bad->entries);
    return 0;
}
