/* What each case is, in terms of images, keys and bare I/O. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "bench/scene.h"

#define V(ID) (s->values.v[BENCH_##ID])

const char *const bench_who_names[BENCH_WHO_COUNT] = {
    [BENCH_QBATCH] = "qbatch",
    [BENCH_OTHER] = "other",
    [BENCH_QEMU_IMG] = "qemu-img",
    [BENCH_LIMIT_IO] = "limit",
};

static void add_key(struct bench_scene *s, const char *name, const char *text)
{
    s->keys[s->n_keys].name = name;
    snprintf(s->keys[s->n_keys].text, sizeof(s->keys[0].text), "%s", text);
    s->n_keys++;
}

static void add_value_key(struct bench_scene *s, const char *name, enum bench_param param)
{
    char buf[32];

    add_key(s, name, bench_value_text(param, s->values.v[param], buf, sizeof(buf)));
}

/* ---- the bare I/O ---------------------------------------------------------------------------- */

/* Bytes of each table that hold entries, in pages of the file system. */
static uint64_t table_used(const struct bench_layout *l)
{
    uint64_t entries = QB_MIN(l->guest_clusters, l->l2_entries);

    return QB_MIN(qb_round_up(entries * 8, 4096), l->shape.cluster_size);
}

static void read_tables(struct bench_scene *s)
{
    uint64_t cs = s->image.shape.cluster_size;

    s->limit.tables_at = s->image.first_table * cs;
    s->limit.tables_step = s->image.shape.scatter * cs;
    s->limit.tables = s->image.tables;
    s->limit.table_size = cs;
    s->limit.table_used = table_used(&s->image);
}

static void read_blocks(struct bench_scene *s)
{
    s->limit.blocks_at = s->image.first_block * s->image.shape.cluster_size;
    s->limit.blocks_size = s->image.blocks * s->image.shape.cluster_size;
}

static void append_clusters(struct bench_scene *s, uint64_t clusters)
{
    s->limit.append_at = s->image.end * s->image.shape.cluster_size;
    s->limit.append_size = clusters * s->image.shape.cluster_size;
    s->limit.append_used = s->image.shape.cluster_size;
    s->limit.flip = 1;
}

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
    read_tables(s);
    append_clusters(s, added + blocks + table);
    if (grown)
        s->limit.grow_to =
            s->limit.append_at + s->limit.append_size + grown * l->shape.cluster_size;
    s->limit.zeros = V(ZERO_METHOD) == BENCH_ZERO_FALLOC  ? BENCH_LIMIT_FALLOC
                     : V(ZERO_METHOD) == BENCH_ZERO_WRITE ? BENCH_LIMIT_WRITE
                                                          : BENCH_LIMIT_HOLE;
    if (s->limit.zeros == BENCH_LIMIT_HOLE) /* else the space of all of them is asked for */
        s->limit.append_used = table_used(l);
}

/* ---- the work -------------------------------------------------------------------------------- */

static void downgrade(struct bench_scene *s)
{
    add_key(s, "compat", "0.10");
    if (V(ZERO_METHOD) != BENCH_ZERO_AUTO)
        add_value_key(s, "zero_method", BENCH_ZERO_METHOD);
    if (V(ZERO_CLUSTERS) != BENCH_ZERO_ALLOCATE)
        add_value_key(s, "zero_clusters", BENCH_ZERO_CLUSTERS);
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
    add_key(s, "lazy_refcounts", "on");
    s->header_only = true;
    s->qemu_bytes = s->image.shape.cluster_size; /* it writes the whole cluster */
    s->limit.flip = 1;
}

static void count_references(struct bench_scene *s)
{
    read_tables(s);
    read_blocks(s);
    s->clusters = s->image.guest_clusters;
}

static int refcount_width(struct bench_scene *s, struct qb_err *err)
{
    unsigned order = 0;
    uint64_t blocks, table;

    while (order < 6 && 1u << order != V(TO_BITS))
        order++;
    if (1u << order != V(TO_BITS) || V(TO_BITS) == V(BITS))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "--to-bits is another power of two than --bits");
    add_value_key(s, "refcount_bits", BENCH_TO_BITS);
    bench_refcounts_for(s->image.shape.cluster_size, order, s->image.end, &blocks, &table);
    read_blocks(s);
    append_clusters(s, blocks + table);
    s->clusters = s->image.end; /* of the file: each has a count */
    return 0;
}

/* The tables that stay are read by nobody; a new L1 and the refcounts that know of it. */
static int shrink(struct bench_scene *s, struct qb_err *err)
{
    if (V(TO) >= V(SIZE))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--to is below --size");
    add_value_key(s, "size", BENCH_TO);
    s->shrink = true;
    append_clusters(s, 3);
    s->clusters = s->image.guest_clusters;
    s->qemu_bytes = 1ull << 28; /* it allocates the L2 tables of the stretch that goes */
    return 0;
}

static int the_work(struct bench_scene *s, struct qb_err *err)
{
    switch (s->which) {
    case BENCH_CASE_EXPAND:
        downgrade(s);
        return 0;
    case BENCH_CASE_FLEET:
        s->n_images = V(IMAGES);
        small_work(s);
        return 0;
    case BENCH_CASE_SCAN:
        s->verb = BENCH_DRY_RUN;
        add_key(s, "compat", "0.10");
        count_references(s);
        return 0;
    case BENCH_CASE_REFCOUNT:
        return refcount_width(s, err);
    case BENCH_CASE_CHECK:
        s->verb = BENCH_CHECK;
        count_references(s);
        return 0;
    case BENCH_CASE_SHRINK:
        return shrink(s, err);
    default:
        small_work(s);
        return 0;
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void make_shapes(const struct bench_scene *s, struct bench_shape *image,
                        struct bench_shape *base)
{
    uint64_t bits = V(BITS);

    *image = (struct bench_shape){
        .size = V(SIZE),
        .used = QB_MIN(V(USED), V(SIZE)),
        .cluster_size = V(CLUSTER_SIZE),
        .every = V(EVERY),
        .data_between = V(BETWEEN) == BENCH_BETWEEN_DATA,
        .snapshots = V(SNAPSHOTS),
        .scatter = V(SCATTER),
        .refcount_bits = bits > 64 ? 0 : (unsigned)bits,
        .backing = s->has_base ? "../base.qcow2" : NULL,
    };
    *base =
        (struct bench_shape){.size = V(SIZE), .cluster_size = V(CLUSTER_SIZE), .refcount_bits = 16};
}

int bench_scene_plan(enum bench_case which, const struct bench_values *values,
                     struct bench_scene *s, struct qb_err *err)
{
    struct bench_shape image, base;

    memset(s, 0, sizeof(*s));
    s->which = which;
    s->values = *values;
    s->has_base = V(BACKING) == BENCH_BACKED;
    s->n_images = 1;
    make_shapes(s, &image, &base);
    if (bench_layout_make(&image, &s->image, err) < 0 ||
        bench_layout_make(&base, &s->base, err) < 0)
        return -1;
    if (the_work(s, err) < 0)
        return -1;
    if (s->n_images < 1 || s->n_images > 10000000)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--images is 1 to 10000000");
    s->limit.threads = (uint64_t)QB_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
    s->clusters *= s->n_images;
    s->guest_bytes = s->clusters * s->image.shape.cluster_size;
    s->disk_bytes += bench_layout_disk(&s->image) + s->limit.append_size;
    s->disk_bytes *= s->n_images;
    s->qemu_bytes *= s->n_images;
    return 0;
}

const char *bench_scene_title(const struct bench_scene *s, char *buf, size_t size)
{
    const struct bench_case_row *row = &bench_cases[s->which];
    struct bench_grid presets;
    struct bench_values usual;
    size_t n = (size_t)snprintf(buf, size, "%s", row->name);
    char value[32];

    if (bench_grid_init(&presets, s->which, NULL) < 0)
        return buf;
    usual = bench_grid_at(&presets, 0);
    bench_grid_free(&presets);
    for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++) {
        bool tells = p == BENCH_SIZE || (p == BENCH_IMAGES && row->params & 1u << p);

        if (n < size && (tells || s->values.v[p] != usual.v[p]))
            n += (size_t)snprintf(buf + n, size - n, " %s=%s", bench_params[p].name,
                                  bench_value_text(p, s->values.v[p], value, sizeof(value)));
    }
    return buf;
}
