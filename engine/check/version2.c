#include "check/version2.h"

#include "qcow2/l2.h"

struct search {
    const struct qb_image *img;
    const struct qb_tables *tables;
};

static int find_zeros(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    const struct search *s = arg;
    const struct qb_geom *g = &s->img->geom;

    for (uint64_t i = 0; i < g->l2_entries; i++) {
        enum qb_kind kind = qb_l2_kind(g, qb_l2_get(g, table, i, 0));

        if (kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED)
            return qb_fail(err, QB_E_CORRUPT, s->tables->items[index].offset + i * g->l2_entry_size,
                           "a version 2 image has a zero cluster");
    }
    return 0;
}

int qb_version2_check(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                      struct qb_err *err)
{
    struct qb_tables tables = {0};
    struct search s = {img, &tables};
    int r = qb_tables_gather(io, img, memory_limit, NULL, NULL, &tables, err);

    if (r == 0)
        r = qb_tables_scan_held(io, img, &tables, 0, tables.n, find_zeros, &s, err);
    qb_tables_free(&tables);
    return r;
}
