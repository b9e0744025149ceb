#include "check/data_end.h"

/* Subclusters from the first to the last one with data. */
static uint64_t subclusters_used(uint64_t bitmap)
{
    uint32_t allocated = (uint32_t)bitmap;

    return allocated ? QB_SUBCLUSTERS - (unsigned)__builtin_clz(allocated) : 0;
}

uint64_t qb_data_end_of(const struct qb_image *img, const struct qb_l2_table *t,
                        const uint8_t *table, uint64_t i)
{
    const struct qb_geom *g = &img->geom;
    uint64_t guest = t->l1_index * g->l1_span + i * g->cluster_size;
    uint64_t used = subclusters_used(qb_l2_bitmap(g, table, i));
    enum qb_kind kind = qb_l2_kind_at(g, table, i);

    if ((kind != QB_DATA && kind != QB_PARTIAL) || used == 0 || !t->active ||
        guest >= img->header.size || (qb_l2_get(g, table, i, 0) & QB_ENTRY_OFFSET) != guest)
        return 0;
    return QB_MIN(guest + g->cluster_size / QB_SUBCLUSTERS * used, img->header.size);
}

struct search {
    struct qb_census *c;
    uint64_t size; /* of the data file, bytes */
};

/* `n` entries from `first` on. */
static void note_run(struct search *s, const struct qb_l2_table *t, uint64_t first, uint64_t n)
{
    const struct qb_geom *g = &s->c->img->geom;

    if (n)
        qb_census_note(s->c, QB_DEFECT_DATA_FILE_TOO_SHORT, t->offset + first * g->l2_entry_size,
                       "the external data file ends at 0x%llx, before the end of %llu mapped "
                       "cluster%s from guest offset 0x%llx on",
                       (unsigned long long)s->size, (unsigned long long)n, n == 1 ? "" : "s",
                       (unsigned long long)(t->l1_index * g->l1_span + first * g->cluster_size));
}

static int find_past_end(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct search *s = arg;
    const struct qb_geom *g = &s->c->img->geom;
    const struct qb_l2_table *t = &s->c->tables.items[index];
    uint64_t n = 0; /* entries before i that reach past the end */

    (void)err;
    for (uint64_t i = 0; i < g->l2_entries; i++) {
        if (qb_data_end_of(s->c->img, t, table, i) > s->size) {
            n++;
            continue;
        }
        note_run(s, t, i - n, n);
        n = 0;
    }
    note_run(s, t, g->l2_entries - n, n);
    return 0;
}

int qb_data_end_check(struct qb_io *io, struct qb_census *c, uint64_t size, struct qb_err *err)
{
    const struct qb_header *h = &c->img->header;
    struct search s = {c, size};

    if ((h->autoclear & QB_AUTOCLEAR_DATA_FILE_RAW) && size < h->size)
        qb_census_note(c, QB_DEFECT_DATA_FILE_TOO_SHORT, QB_NOWHERE,
                       "the raw external data file has %llu bytes, and the disk %llu",
                       (unsigned long long)size, (unsigned long long)h->size);
    if (c->data_end <= size)
        return 0;
    return qb_tables_scan(&(struct qb_table_scan){io, c->img, &c->tables, true, find_past_end, &s},
                          err);
}
