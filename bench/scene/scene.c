/* Plans a scene: its images, its work, and what it takes of the disk. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "scene/scene.h"

#define V(ID) (s->values.v[BENCH_##ID])

const char *const bench_who_names[BENCH_WHO_COUNT] = {
    [BENCH_QBATCH] = "qbatch",     [BENCH_OTHER] = "other",    [BENCH_BESIDE] = "beside",
    [BENCH_QEMU_IMG] = "qemu-img", [BENCH_LIMIT_IO] = "limit",
};

static void make_shapes(const struct bench_scene *s, struct bench_shape *image,
                        struct bench_shape *base)
{
    uint64_t bits = V(BITS);

    *image = (struct bench_shape){
        .size = V(SIZE),
        .used = qb_min(V(USED), V(SIZE)),
        .cluster_size = V(CLUSTER_SIZE),
        .every = V(EVERY),
        .data_between = V(BETWEEN) == BENCH_BETWEEN_DATA,
        .stretch = s->which == BENCH_CASE_RAW ? 0 : V(STRETCH),
        .holes = s->device,
        .raw_step = s->which == BENCH_CASE_RAW ? V(STRETCH) : 0,
        .snapshots = V(SNAPSHOTS),
        .bitmaps = V(BITMAPS),
        .granularity = V(GRANULARITY),
        .scatter = V(SCATTER),
        .refcount_bits = bits > 64 ? 0 : (unsigned)bits,
        .data_file = s->which == BENCH_CASE_DATA_FILE,
        .junk = V(JUNK),
        .backing = s->has_base ? "../base.qcow2" : NULL,
    };
    *base =
        (struct bench_shape){.size = V(SIZE), .cluster_size = V(CLUSTER_SIZE), .refcount_bits = 16};
}

int bench_scene_plan(enum bench_case which, const struct bench_values *values,
                     struct bench_scene *s, struct qb_err *err)
{
    struct bench_shape image, base;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    memset(s, 0, sizeof(*s));
    s->which = which;
    s->values = *values;
    s->has_base = V(BACKING) == BENCH_BACKED;
    s->device = which == BENCH_CASE_DEVICE;
    s->fleet = (bench_cases[which].params & 1u << BENCH_IMAGES) != 0;
    s->n_images = s->fleet ? V(IMAGES) : 1;
    make_shapes(s, &image, &base);
    if (bench_layout_make(&image, &s->image, err) < 0 ||
        bench_layout_make(&base, &s->base, err) < 0)
        return -1;
    if (bench_scene_work(s, err) < 0)
        return -1;
    if (s->n_images < 1 || s->n_images > 10000000)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--images is 1 to 10000000");
    s->limit.threads = online > 0 ? (uint64_t)online : 1;
    s->limit.head = QB_MIN(s->image.end * s->image.shape.cluster_size, 4096);
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
