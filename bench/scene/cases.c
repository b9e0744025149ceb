/* Defines the work of each case: its keys and its bare I/O. */
#include "base/num.h"
#include "qcow2/disk.h"
#include "scene/cases_parts.h"

#define V(ID) (s->values.v[BENCH_##ID])

/* Over a backing file every zero cluster gets one of its own; else the entries just fall away, and
 * a table that held nothing else needs not be written.  The refcounts that describe the result
 * are written either way. */
static void expand_io(struct bench_scene *s)
{
    const struct bench_layout *l = &s->image;
    bool own = s->has_base && V(ZERO_CLUSTERS) == BENCH_ZERO_ALLOCATE;
    bool tables =
        l->zeros && (s->has_base ? V(ZERO_CLUSTERS) != BENCH_ZERO_DEFER || l->data : l->data > 0);
    uint64_t added = (tables ? l->tables : 0) + l->l1_clusters * (1 + l->shape.snapshots);
    uint64_t grown = own ? l->zeros : 0, blocks, table;

    bench_refcounts_for(l->shape.cluster_size, l->refcount_order, l->end + added + grown, &blocks,
                        &table);
    bench_read_tables(s);
    bench_append_clusters(s, added + blocks + table);
    if (grown)
        s->limit.grow_to =
            s->limit.append_at + s->limit.append_size + grown * l->shape.cluster_size;
    s->limit.zeros = V(ZERO_METHOD) == BENCH_ZERO_FALLOC  ? BENCH_LIMIT_FALLOC
                     : V(ZERO_METHOD) == BENCH_ZERO_WRITE ? BENCH_LIMIT_WRITE
                                                          : BENCH_LIMIT_HOLE;
    if (s->limit.zeros == BENCH_LIMIT_HOLE) /* else the space of all of them is asked for */
        s->limit.append_used = bench_table_used(l);
}

/* ---- the work -------------------------------------------------------------------------------- */

static void downgrade(struct bench_scene *s)
{
    bench_add_key(s, "compat", "0.10");
    if (V(ZERO_METHOD) != BENCH_ZERO_AUTO)
        bench_add_value_key(s, "zero_method", BENCH_ZERO_METHOD);
    if (V(ZERO_CLUSTERS) != BENCH_ZERO_ALLOCATE)
        bench_add_value_key(s, "zero_clusters", BENCH_ZERO_CLUSTERS);
    expand_io(s);
    s->clusters = s->image.guest_clusters;
    if (s->has_base && s->limit.zeros == BENCH_LIMIT_HOLE)
        s->qemu_bytes = s->image.zeros * s->image.shape.cluster_size;
    else if (s->has_base)
        s->disk_bytes = s->image.zeros * s->image.shape.cluster_size;
}

static void small_work(struct bench_scene *s)
{
    if (V(WORK) == BENCH_WORK_DOWNGRADE) {
        downgrade(s);
        return;
    }
    bench_add_key(s, "lazy_refcounts", "on");
    s->header_only = true;
    s->qemu_bytes = s->image.shape.cluster_size; /* it writes the whole cluster */
    s->limit.flip = 1;
}

static void count_references(struct bench_scene *s)
{
    bench_read_tables(s);
    bench_read_blocks(s);
    s->clusters = s->image.guest_clusters;
}

/* The tables that stay are read by nobody; a new L1 and the refcounts that know of it. */
static int shrink(struct bench_scene *s, struct qb_err *err)
{
    if (V(TO) >= V(SIZE))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--to is below --size");
    bench_add_value_key(s, "size", BENCH_TO);
    s->shrink = true;
    bench_append_clusters(s, 3);
    s->clusters = s->image.guest_clusters;
    s->qemu_bytes = 1ull << 28; /* it allocates the L2 tables of the stretch that goes */
    return 0;
}

/* Every table and count is read, as all counts change; the flags of all tables follow, and are
 * written with the L1 and the refcounts. */
static int delete_snapshots(struct bench_scene *s, struct qb_err *err)
{
    uint64_t blocks, table;

    if (V(SNAPSHOTS) == 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--snapshots is at least 1");
    bench_add_key(s, "snapshots.delete", "*");
    bench_refcounts_for(s->image.shape.cluster_size, s->image.refcount_order, s->image.end, &blocks,
                        &table);
    bench_read_tables(s);
    bench_read_blocks(s);
    bench_append_clusters(s, s->image.tables + s->image.l1_clusters + blocks + table);
    s->clusters = s->image.guest_clusters;
    return 0;
}

/* Every reference is counted, and the counts without the bitmaps' clusters are written; their bits
 * are neither read nor written. */
static int remove_bitmaps(struct bench_scene *s, struct qb_err *err)
{
    const struct bench_layout *l = &s->image;
    uint64_t blocks, table;

    if (V(BITMAPS) == 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--bitmaps is at least 1");
    bench_add_key(s, "bitmaps.remove", "*");
    bench_refcounts_for(l->shape.cluster_size, l->refcount_order, l->end, &blocks, &table);
    bench_read_tables(s);
    bench_read_blocks(s);
    bench_append_clusters(s, blocks + table);
    s->clusters = l->guest_clusters;
    s->qemu_bytes = (l->first_table - l->first_bitmap) * l->shape.cluster_size; /* stored again */
    return 0;
}

/* A table of entries twice as long is two tables, and an L1 table refers to both. */
static int extend_l2(struct bench_scene *s, struct qb_err *err)
{
    const struct bench_layout *l = &s->image;
    uint64_t cs = l->shape.cluster_size, entries = l->l2_entries / 2, blocks, table, tables, l1;

    if (l->cluster_bits < QB_EXTENDED_L2_CLUSTER_BITS)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "--cluster-size is at least 16K for extended L2 entries");
    bench_add_key(s, "extended_l2", "on");
    tables = l->tables ? qb_div_up(l->guest_clusters, entries) : 0;
    l1 = qb_div_up(qb_div_up(l->shape.size, cs * entries) * 8, cs);
    tables += l1 * (1 + l->shape.snapshots) + l->directory - l->snapshot_table;
    bench_refcounts_for(cs, l->refcount_order, l->end + tables, &blocks, &table);
    bench_read_tables(s);
    bench_read_blocks(s);
    bench_append_clusters(s, tables + blocks + table);
    s->clusters = l->guest_clusters;
    s->qemu_bytes = s->limit.append_size; /* the new image has as many, and no data */
    return 0;
}

/* Where the L1 table has room for the new size, the header's sector is all that is written of the
 * image; in the data file zeros go over what comes into use. */
static int grow_data_file(struct bench_scene *s, struct qb_err *err)
{
    const struct bench_layout *l = &s->image;
    const struct bench_shape *shape = &l->shape;
    uint64_t l1 =
        qb_div_up(qb_div_up(V(TO), shape->cluster_size * l->l2_entries) * 8, shape->cluster_size);
    uint64_t blocks, table;

    if (V(TO) <= V(SIZE))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--to is above --size");
    bench_add_value_key(s, "size", BENCH_TO);
    s->limit.data_grow_to = qb_max(shape->size + shape->junk, V(TO));
    s->limit.data_zeros_at = shape->size;
    s->limit.data_zeros = qb_min(shape->junk, V(TO) - shape->size);
    s->limit.flip = 1;
    s->clusters = l->guest_clusters;
    if (l1 == l->l1_clusters)
        return 0;
    bench_refcounts_for(shape->cluster_size, l->refcount_order, l->end + l1, &blocks, &table);
    bench_read_tables(s);
    bench_read_blocks(s);
    bench_append_clusters(s, l1 + blocks + table);
    return 0;
}

int bench_scene_work(struct bench_scene *s, struct qb_err *err)
{
    switch (s->which) {
    case BENCH_CASE_EXPAND:
        downgrade(s);
        return 0;
    case BENCH_CASE_FLEET:
        small_work(s);
        return 0;
    case BENCH_CASE_SCAN:
        s->verb = BENCH_DRY_RUN;
        bench_add_key(s, "compat", "0.10");
        count_references(s);
        return 0;
    case BENCH_CASE_REFCOUNT:
        return bench_refcount_width(s, err);
    case BENCH_CASE_CHECK:
    case BENCH_CASE_CHECK_FLEET:
        s->verb = BENCH_CHECK;
        count_references(s);
        return 0;
    case BENCH_CASE_SHRINK:
        return shrink(s, err);
    case BENCH_CASE_SNAPSHOTS:
        return delete_snapshots(s, err);
    case BENCH_CASE_BITMAPS:
        return remove_bitmaps(s, err);
    case BENCH_CASE_EXTENDED_L2:
        return extend_l2(s, err);
    case BENCH_CASE_DATA_FILE:
        return grow_data_file(s, err);
    case BENCH_CASE_RECLAIM:
        return bench_give_back(s, err);
    case BENCH_CASE_COMPACT:
        return bench_compact(s, err);
    case BENCH_CASE_RAW:
        return bench_convert_raw(s, err);
    case BENCH_CASE_DEVICE:
        return bench_fill_device(s, err);
    default:
        small_work(s);
        return 0;
    }
}
