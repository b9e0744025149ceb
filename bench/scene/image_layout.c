#include "scene/image.h"

#include "base/num.h"
#include "scene/image_parts.h"
#include "qcow2/disk.h"
#include "qcow2/refcount.h"

static unsigned log2_of(uint64_t n)
{
    return n ? 63u - (unsigned)__builtin_clzll(n) : 0;
}

void bench_refcounts_for(uint64_t cluster_size, unsigned order, uint64_t clusters, uint64_t *blocks,
                         uint64_t *table)
{
    uint64_t entries = cluster_size * 8 >> order, was;

    *blocks = *table = 0;
    do {
        was = *blocks + *table;
        *blocks = qb_div_up(clusters + was, entries);
        *table = qb_max(qb_div_up(*blocks * 8, cluster_size), 1);
    } while (*blocks + *table != was);
}

static int refuse_shape(const struct bench_shape *s, struct qb_err *err)
{
    unsigned order = log2_of(s->refcount_bits);

    if (s->cluster_size < 512 || s->cluster_size > 2 << 20 ||
        s->cluster_size & (s->cluster_size - 1))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "a cluster size is a power of two, 512 to 2M");
    if (s->refcount_bits < 1 || s->refcount_bits > 64 || s->refcount_bits & (s->refcount_bits - 1))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "a refcount width is a power of two, 1 to 64 bits");
    if (s->snapshots >= QB_MAX_SNAPSHOTS || s->snapshots + 1 > qb_refcount_max(order))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "too many snapshots for %u-bit refcounts",
                       s->refcount_bits);
    if (s->size > 1ull << 60 || s->size % 512)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "a virtual size is a multiple of 512, to 1E");
    return 0;
}

static int refuse_bitmaps(const struct bench_layout *l, struct qb_err *err)
{
    const struct bench_shape *s = &l->shape;

    if (!s->bitmaps)
        return 0;
    if (s->granularity < 1u << QB_BITMAP_GRANULARITY_MIN ||
        s->granularity > 1u << QB_BITMAP_GRANULARITY_MAX || s->granularity & (s->granularity - 1))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "a granularity is a power of two, 512 to 2G");
    if (s->bitmaps > QB_MAX_BITMAPS || !s->size)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "a disk has up to %u bitmaps, and none if it has no bytes", QB_MAX_BITMAPS);
    if (l->bitmap_bytes > QB_MAX_BITMAP_BYTES)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the bitmaps would be too large: choose a coarser granularity");
    return 0;
}

static int refuse_stretches(const struct bench_layout *l, struct qb_err *err)
{
    const struct bench_shape *s = &l->shape;

    if (!s->stretch)
        return 0;
    if (s->every || !s->data_between || s->data_file)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "free stretches are among data only: --every 0 --between data");
    if (l->guest_clusters % s->stretch || l->guest_clusters / s->stretch % 2)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "--used is an even number of stretches of clusters");
    return 0;
}

static void count_bitmaps(struct bench_layout *l)
{
    const struct bench_shape *s = &l->shape;

    if (!s->bitmaps || !s->granularity)
        return;
    l->bitmap_bytes = qb_div_up(qb_div_up(s->size, s->granularity), 8);
    l->bitmap_data = qb_div_up(l->bitmap_bytes, s->cluster_size);
    l->bitmap_tables = qb_div_up(l->bitmap_data * 8, s->cluster_size);
}

static void count_clusters(struct bench_layout *l)
{
    const struct bench_shape *s = &l->shape;

    l->cluster_bits = log2_of(s->cluster_size);
    l->refcount_order = log2_of(s->refcount_bits);
    l->l2_entries = s->cluster_size / 8;
    l->l1_entries = qb_div_up(s->size, s->cluster_size * l->l2_entries);
    l->l1_clusters = qb_div_up(l->l1_entries * 8, s->cluster_size);
    l->guest_clusters = qb_div_up(s->used, s->cluster_size);
    l->zeros = s->every ? qb_div_up(l->guest_clusters, s->every) : 0;
    l->freed = s->stretch ? l->guest_clusters / 2 : 0;
    l->data = s->data_between ? l->guest_clusters - l->zeros - l->freed : 0;
    l->tables = l->zeros || l->data ? qb_div_up(l->guest_clusters, l->l2_entries) : 0;
}

/* One entry: fixed part, extra data, a decimal id and a name of one letter and that number. */
enum { SNAPSHOT_ENTRY_MAX = 40 + 16 + 24 };

int bench_layout_make(const struct bench_shape *shape, struct bench_layout *l, struct qb_err *err)
{
    uint64_t table_space, snapshot_table, directory, bitmaps, rest, data;

    *l = (struct bench_layout){.shape = *shape};
    if (refuse_shape(shape, err) < 0)
        return -1;
    l->shape.scatter = QB_MAX(shape->scatter, 1);
    l->shape.used = QB_MIN(shape->used, shape->size);
    count_clusters(l);
    count_bitmaps(l);
    if (refuse_bitmaps(l, err) < 0 || refuse_stretches(l, err) < 0)
        return -1;
    if (l->l1_entries * 8 > QB_MAX_L1_BYTES)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s",
                       "the L1 table would be too large: choose larger clusters");
    table_space = l->tables * l->shape.scatter;
    snapshot_table = qb_div_up(shape->snapshots * SNAPSHOT_ENTRY_MAX, shape->cluster_size);
    directory = qb_div_up(shape->bitmaps * BENCH_BITMAP_ENTRY, shape->cluster_size);
    bitmaps = shape->bitmaps * (l->bitmap_tables + l->bitmap_data);
    data = shape->data_file ? 0 : l->data + l->freed;
    rest = 1 + l->l1_clusters * (1 + shape->snapshots) + snapshot_table + directory + bitmaps +
           table_space + data;
    bench_refcounts_for(shape->cluster_size, l->refcount_order, rest, &l->blocks,
                        &l->reftable_clusters);
    l->reftable = 1;
    l->first_block = l->reftable + l->reftable_clusters;
    l->l1 = l->first_block + l->blocks;
    l->snapshot_l1s = l->l1 + l->l1_clusters;
    l->snapshot_table = l->snapshot_l1s + l->l1_clusters * shape->snapshots;
    l->directory = l->snapshot_table + snapshot_table;
    l->first_bitmap = l->directory + directory;
    l->first_table = l->first_bitmap + bitmaps;
    l->first_data = l->first_table + table_space;
    l->end = l->first_data + data;
    if (l->end > (1ull << 55) / shape->cluster_size)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "the file would be too large");
    return 0;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t t = a % b;

        a = b;
        b = t;
    }
    return a;
}

uint64_t bench_layout_table(const struct bench_layout *l, uint64_t i)
{
    uint64_t step = l->tables * 5 / 8 + 1; /* far enough that no readahead helps */

    if (l->shape.scatter <= 1)
        return l->first_table + i;
    while (gcd(step, l->tables) != 1)
        step++;
    return l->first_table + i * step % l->tables * l->shape.scatter;
}

bool bench_layout_is_free(const struct bench_layout *l, uint64_t guest)
{
    return l->shape.stretch && guest / l->shape.stretch % 2 == 0;
}

uint64_t bench_layout_disk(const struct bench_layout *l)
{
    uint64_t cs = l->shape.cluster_size;
    uint64_t start = QB_MIN(cs, 8192); /* written of a cluster that is empty but for its start */
    uint64_t blocks = (l->blocks - 1) * cs + start;
    uint64_t l1 = l->l1_entries ? QB_MAX(l->l1_entries * 8, start) : 0;

    return start * 2 + blocks + l->reftable_clusters * 8 + l1 * (1 + l->shape.snapshots) +
           l->shape.snapshots * SNAPSHOT_ENTRY_MAX + l->tables * QB_MAX(cs, 4096) +
           l->shape.bitmaps * (l->bitmap_tables + l->bitmap_data) * cs + l->shape.junk +
           (l->shape.stretch && !l->shape.holes ? (l->data + l->freed) * cs : 0);
}
