#include "check/version2.h"

#include "qcow2/l2.h"

int qb_version2_refuse(uint64_t at, struct qb_err *err)
{
    return qb_fail(err, QB_E_CORRUPT, at, "a version 2 image has a zero cluster");
}

struct search {
    const struct qb_image *img;
    const struct qb_tables *tables;
    uint64_t at;
};

/* Ends the scan at the first one. */
static int find_zeros(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct search *s = arg;
    const struct qb_geom *g = &s->img->geom;

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        enum qb_kind kind = qb_l2_kind(g, qb_l2_get(g, table, i, 0));

        if (kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED) {
            s->at = s->tables->items[index].offset + i * g->l2_entry_size;
            return qb_version2_refuse(s->at, err);
        }
    }
    return 0;
}

int qb_version2_first(struct qb_io *io, const struct qb_image *img, const struct qb_tables *tables,
                      uint64_t *at, struct qb_err *err)
{
    struct search s = {img, tables, QB_NOWHERE};
    int r = qb_tables_scan(&(struct qb_table_scan){io, img, tables, true, find_zeros, &s}, err);

    *at = s.at;
    return s.at == QB_NOWHERE ? r : 0;
}

int qb_version2_check(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                      struct qb_err *err)
{
    struct qb_tables tables = {0};
    uint64_t at = QB_NOWHERE;
    int r = qb_tables_gather(io, img, memory_limit, NULL, NULL, &tables, err);

    if (r == 0)
        r = qb_version2_first(io, img, &tables, &at, err);
    qb_tables_free(&tables);
    return at == QB_NOWHERE ? r : qb_version2_refuse(at, err);
}
