/* The work of the cases that give space back, or take it. */
#include "base/num.h"
#include "scene/cases_parts.h"

#define V(ID) (s->values.v[BENCH_##ID])

static int check_stretch(const struct bench_scene *s, struct qb_err *err)
{
    if (V(STRETCH) == 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--stretch is at least 1");
    return 0;
}

/* Every reference is counted; where nothing else changes, the header's sector is written as it was,
 * and the holes are made after the barrier. */
int bench_give_back(struct bench_scene *s, struct qb_err *err)
{
    const struct bench_layout *l = &s->image;
    uint64_t bytes = V(STRETCH) * l->shape.cluster_size;

    if (check_stretch(s, err) < 0)
        return -1;
    bench_add_key(s, "reclaim.free", "on");
    bench_read_tables(s);
    bench_read_blocks(s);
    s->limit.flip = 1;
    s->limit.punch_at = l->first_data * l->shape.cluster_size;
    s->limit.punch_step = 2 * bytes;
    s->limit.punch_size = bytes;
    s->limit.punches = l->freed / V(STRETCH);
    s->clusters = l->freed;
    s->qemu_bytes = bench_layout_disk(l); /* the new image beside the old one */
    return 0;
}

/* The upper half of the stretches of data goes into the lower half of the free ones, and all tables
 * and refcounts are written; then the file is cut. */
int bench_compact(struct bench_scene *s, struct qb_err *err)
{
    const struct bench_layout *l = &s->image;
    uint64_t cs = l->shape.cluster_size, blocks, table, metadata;

    if (check_stretch(s, err) < 0)
        return -1;
    bench_add_key(s, "reclaim.compact", "on");
    bench_refcounts_for(cs, l->refcount_order, l->first_data + l->data, &blocks, &table);
    metadata = l->tables + l->l1_clusters * (1 + l->shape.snapshots) + blocks + table;
    bench_read_tables(s);
    bench_read_blocks(s);
    bench_append_clusters(s, metadata);
    s->limit.copy_size = V(STRETCH) * cs;
    s->limit.copy_step = 2 * s->limit.copy_size;
    s->limit.copies = l->guest_clusters / V(STRETCH) / 4;
    s->limit.copy_to = l->first_data * cs;
    s->limit.copy_at = l->end * cs - s->limit.copies * s->limit.copy_step + s->limit.copy_size;
    s->limit.cut_to = (l->first_data + l->data + metadata) * cs;
    s->clusters = s->limit.copies * V(STRETCH);
    s->qemu_bytes = bench_layout_disk(l); /* the new image beside the old one */
    return 0;
}

/* Nothing of the disk is read but its first cluster, of which a copy is written with the tables and
 * refcounts of all of it. */
int bench_convert_raw(struct bench_scene *s, struct qb_err *err)
{
    const struct bench_layout *l = &s->image;
    uint64_t cs = l->shape.cluster_size, l2 = l->l2_entries * cs,
             end = qb_div_up(l->shape.size, cs);
    uint64_t tables = 1 + qb_div_up(l->shape.used, l2), blocks, table;

    if (V(STRETCH) == 0 || V(STRETCH) > l->l2_entries)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--stretch is 1 to %lu",
                       (unsigned long)l->l2_entries);
    bench_add_key(s, "convert.from", "raw");
    bench_add_key(s, "convert.to", "qcow2");
    if (cs != 65536) /* what both make by default */
        bench_add_value_key(s, "cluster_size", BENCH_CLUSTER_SIZE);
    tables += qb_div_up(8 * qb_div_up(l->shape.size, l2), cs);
    bench_refcounts_for(cs, l->refcount_order, end + tables, &blocks, &table);
    bench_append_clusters(s, tables + blocks + table);
    s->limit.append_at = end * cs;
    s->limit.append_used = cs;
    s->clusters = qb_div_up(l->shape.used, cs * V(STRETCH));
    s->disk_bytes = s->clusters * 4096;
    s->qemu_bytes = s->limit.append_size + s->clusters * cs; /* the new image beside the disk */
    return 0;
}

/* The new refcounts of a device go to its first free stretch; every reference is counted, as what
 * is free is written over. */
int bench_fill_device(struct bench_scene *s, struct qb_err *err)
{
    uint64_t cs = s->image.shape.cluster_size, blocks;

    if (s->has_base)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "on a device it is --backing no");
    if (bench_refcount_width(s, err) < 0)
        return -1;
    blocks = qb_div_up(s->image.end * V(TO_BITS), cs * 8);
    bench_append_clusters(s, blocks + qb_div_up(blocks * 8, cs));
    bench_read_tables(s);
    s->limit.append_at = s->image.first_data * cs;
    if (s->limit.append_size > V(STRETCH) * cs)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--stretch is at least %lu",
                       (unsigned long)(s->limit.append_size / cs));
    return 0;
}
