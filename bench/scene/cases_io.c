/* Keys and bare I/O that many cases have. */
#include <stdio.h>

#include "base/num.h"
#include "scene/cases_parts.h"

#define V(ID) (s->values.v[BENCH_##ID])

void bench_add_key(struct bench_scene *s, const char *name, const char *text)
{
    s->keys[s->n_keys].name = name;
    snprintf(s->keys[s->n_keys].text, sizeof(s->keys[0].text), "%s", text);
    s->n_keys++;
}

void bench_add_value_key(struct bench_scene *s, const char *name, enum bench_param param)
{
    char buf[32];

    bench_add_key(s, name, bench_value_text(param, s->values.v[param], buf, sizeof(buf)));
}

/* ---- the bare I/O ---------------------------------------------------------------------------- */

uint64_t bench_table_used(const struct bench_layout *l)
{
    uint64_t entries = QB_MIN(l->guest_clusters, l->l2_entries);

    return qb_min(qb_round_up(entries * 8, 4096), l->shape.cluster_size);
}

void bench_read_tables(struct bench_scene *s)
{
    uint64_t cs = s->image.shape.cluster_size;

    s->limit.l1s_at = s->image.l1 * cs;
    s->limit.l1s_step = s->image.l1_clusters * cs;
    s->limit.l1s = 1 + s->image.shape.snapshots;
    s->limit.l1_size = s->image.l1_entries * 8;
    s->limit.tables_at = s->image.first_table * cs;
    s->limit.tables_step = s->image.shape.scatter * cs;
    s->limit.tables = s->image.tables;
    s->limit.table_size = cs;
    s->limit.table_used = bench_table_used(&s->image);
}

void bench_read_blocks(struct bench_scene *s)
{
    s->limit.blocks_at = s->image.first_block * s->image.shape.cluster_size;
    s->limit.blocks_size = s->image.blocks * s->image.shape.cluster_size;
}

void bench_append_clusters(struct bench_scene *s, uint64_t clusters)
{
    s->limit.append_at = s->image.end * s->image.shape.cluster_size;
    s->limit.append_size = clusters * s->image.shape.cluster_size;
    s->limit.append_used = s->image.shape.cluster_size;
    s->limit.flip = 1;
}

int bench_refcount_width(struct bench_scene *s, struct qb_err *err)
{
    unsigned order = 0;
    uint64_t blocks, table;

    while (order < 6 && 1u << order != V(TO_BITS))
        order++;
    if (1u << order != V(TO_BITS) || V(TO_BITS) == V(BITS))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "--to-bits is another power of two than --bits");
    bench_add_value_key(s, "refcount_bits", BENCH_TO_BITS);
    bench_refcounts_for(s->image.shape.cluster_size, order, s->image.end, &blocks, &table);
    bench_read_blocks(s);
    bench_append_clusters(s, blocks + table);
    s->clusters = s->image.end; /* of the file: each has a count */
    return 0;
}
