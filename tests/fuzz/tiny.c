#include "tiny.h"

#include <string.h>
#include <zlib.h>

#include "qcow2/disk.h"
#include "qcow2/refcount.h"

#define CS       TINY_CLUSTER
#define CLUSTERS (TINY_ROOM / CS)
#define SPAN     (CS / 8 * CS) /* guest bytes of one L1 entry */
#define DISK     (80u << 10)

struct builder {
    const struct tiny_shape *s;
    struct tiny *t;
    uint64_t next; /* cluster */
    uint64_t counts[CLUSTERS];
    uint64_t l1[TINY_LAYERS], l2[TINY_LAYERS][TINY_L1];
    uint64_t pool, pool_used; /* where compressed data goes; bytes */
    uint64_t snapshots, bitmap_directory, bitmap_directory_size, reftable;
    unsigned order;
};

static uint64_t take(struct builder *b, uint64_t clusters)
{
    uint64_t at = b->next * CS;

    b->next += clusters;
    FUZZ_HOLDS(b->next < CLUSTERS, "the tiny image is not tiny");
    return at;
}

static uint64_t take_part(struct builder *b)
{
    uint64_t at = take(b, 1);

    if (b->t->n_parts < TINY_PARTS)
        b->t->parts[b->t->n_parts++] = at;
    return at;
}

static void put64(struct builder *b, uint64_t at, uint64_t value)
{
    be64 v = be64_of(value);

    memcpy(b->t->bytes + at, &v, 8);
}

static uint64_t get64(const struct builder *b, uint64_t at)
{
    be64 v;

    memcpy(&v, b->t->bytes + at, 8);
    return be64_get(v);
}

/* ---- guest clusters -------------------------------------------------------------------------- */

static uint64_t put_data(struct builder *b)
{
    uint64_t at = take(b, 1);

    memset(b->t->bytes + at, (int)(1 + at / CS % 255), CS);
    return at;
}

static uint64_t put_compressed(struct builder *b)
{
    uint8_t content[CS], packed[2 * CS];
    z_stream z = {.next_in = content, .avail_in = CS, .next_out = packed, .avail_out = 2 * CS};
    uint64_t at, len, sectors;

    memset(content, (int)(1 + (b->pool + b->pool_used) % 251), CS);
    content[b->pool_used % CS] = 0;
    FUZZ_HOLDS(deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK, "deflate");
    FUZZ_HOLDS(deflate(&z, Z_FINISH) == Z_STREAM_END, "deflate");
    deflateEnd(&z);
    len = z.total_out;
    if (!b->pool || b->pool_used + len > 2ull * CS) {
        b->pool = take(b, 2);
        b->pool_used = CS - 30; /* so that data crosses into the second cluster */
    }
    at = b->pool + b->pool_used;
    memcpy(b->t->bytes + at, packed, len);
    b->pool_used += len;
    sectors = (at % CS + len + CS - 1) / CS;
    return QB_ENTRY_COMPRESSED | (sectors - 1) << 61 | at;
}

static uint64_t make_entry(struct builder *b, unsigned kind, uint64_t active)
{
    bool zeros = b->s->version == 3;
    bool packed = active & QB_ENTRY_COMPRESSED;
    uint64_t host = packed ? 0 : active & QB_ENTRY_OFFSET;

    switch (kind) {
    case TINY_ZERO:
        return zeros ? QB_ENTRY_ZERO : 0;
    case TINY_ZERO_ALLOCATED:
        return zeros ? put_data(b) | QB_ENTRY_ZERO : 0;
    case TINY_DATA:
        return put_data(b);
    case TINY_DATA_AS_ACTIVE:
        return host;
    case TINY_ZERO_AS_ACTIVE:
        return zeros && host ? host | QB_ENTRY_ZERO : 0;
    case TINY_COMPRESSED:
        return put_compressed(b);
    case TINY_COMPRESSED_AS_ACTIVE:
        return packed ? active : 0;
    default:
        return 0;
    }
}

static void make_l2(struct builder *b, unsigned layer, unsigned index)
{
    uint64_t at, active = b->l2[0][index];

    b->l2[layer][index] = layer && b->s->shares[layer][index] ? active : 0;
    for (unsigned i = 0; !b->l2[layer][index] && i < TINY_ENTRIES; i++)
        if (b->s->kinds[layer][index][i] % TINY_KINDS != TINY_NOTHING)
            b->l2[layer][index] = take_part(b);
    if (!b->l2[layer][index] || (layer && b->l2[layer][index] == active))
        return;
    for (unsigned i = 0; i < TINY_ENTRIES; i++) {
        /* Neighbours at the table's front, the rest spread over it. */
        unsigned place = i < TINY_ENTRIES / 2 ? i : i * 8 + 7;

        at = b->l2[layer][index] + 8 * place;
        put64(b, at,
              make_entry(b, b->s->kinds[layer][index][i] % TINY_KINDS,
                         layer && active ? get64(b, active + 8 * place) : 0));
    }
}

static void make_layer(struct builder *b, unsigned layer)
{
    b->l1[layer] = take_part(b);
    for (unsigned i = 0; i < TINY_L1; i++) {
        make_l2(b, layer, i);
        put64(b, b->l1[layer] + 8 * i, b->l2[layer][i]);
    }
}

/* ---- what stands beside them ----------------------------------------------------------------- */

static uint64_t disk_size(const struct tiny_shape *s)
{
    return DISK + (s->odd_size ? 100 : 0);
}

static void make_snapshots(struct builder *b)
{
    uint64_t at, extra = b->s->no_extra ? 0 : 24;

    if (!b->s->snapshots)
        return;
    at = b->snapshots = take_part(b);
    for (unsigned i = 0; i < b->s->snapshots; i++) {
        struct qb_disk_snapshot d = {
            .l1_table_offset = be64_of(b->l1[1 + i]),
            .l1_size = be32_of(TINY_L1),
            .id_size = be16_of(1),
            .name_size = be16_of(2),
            .extra_data_size = be32_of((uint32_t)extra),
        };

        memcpy(b->t->bytes + at, &d, sizeof(d));
        if (extra)
            put64(b, at + sizeof(d) + 8, disk_size(b->s));
        memcpy(b->t->bytes + at + sizeof(d) + extra, "1s1", 3);
        b->t->bytes[at + sizeof(d) + extra] = (uint8_t)('1' + i);
        at += (sizeof(d) + extra + 3 + 7) / 8 * 8;
    }
}

static void make_bitmaps(struct builder *b)
{
    struct qb_disk_bitmap d = {
        .table_size = be32_of(1), .type = 1, .granularity_bits = 9, .name_size = be16_of(2)};
    uint64_t table;

    if (!b->s->bitmaps || b->s->version == 2)
        return;
    b->bitmap_directory = take_part(b);
    table = take_part(b);
    put64(b, table, take(b, 1));
    d.table_offset = be64_of(table);
    memcpy(b->t->bytes + b->bitmap_directory, &d, sizeof(d));
    memcpy(b->t->bytes + b->bitmap_directory + sizeof(d), "b0", 2);
    b->bitmap_directory_size = 32;
}

/* ---- refcounts ------------------------------------------------------------------------------- */

static void count_entry(struct builder *b, uint64_t entry)
{
    uint64_t sectors = (entry >> 61 & 1) + 1, at = entry & ((1ull << 61) - 1);

    if (!(entry & QB_ENTRY_COMPRESSED)) {
        b->counts[(entry & QB_ENTRY_OFFSET) / CS] += !!(entry & QB_ENTRY_OFFSET);
        return;
    }
    for (uint64_t c = at / CS; c < at / CS + sectors; c++)
        b->counts[c]++;
}

static void count_layer(struct builder *b, unsigned layer)
{
    for (unsigned i = 0; i < TINY_L1; i++) {
        uint64_t l2 = b->l2[layer][i];

        b->counts[l2 / CS] += l2 != 0;
        for (unsigned k = 0; l2 && k < CS / 8; k++)
            count_entry(b, get64(b, l2 + 8 * k));
    }
    b->counts[b->l1[layer] / CS]++;
}

static void count_all(struct builder *b)
{
    b->counts[0] = 1;
    for (unsigned layer = 0; layer <= b->s->snapshots; layer++)
        count_layer(b, layer);
    if (b->snapshots)
        b->counts[b->snapshots / CS]++;
    for (uint64_t i = 0; b->bitmap_directory && i < 3; i++)
        b->counts[b->bitmap_directory / CS + i]++;
}

static void set_copied(struct builder *b)
{
    for (unsigned i = 0; i < TINY_L1; i++) {
        uint64_t l2 = b->l2[0][i];

        if (l2 && b->counts[l2 / CS] == 1)
            put64(b, b->l1[0] + 8 * i, l2 | QB_ENTRY_COPIED);
        for (unsigned k = 0; l2 && k < CS / 8; k++) {
            uint64_t entry = get64(b, l2 + 8 * k);

            if (!(entry & QB_ENTRY_COMPRESSED) && (entry & QB_ENTRY_OFFSET) &&
                b->counts[(entry & QB_ENTRY_OFFSET) / CS] == 1)
                put64(b, l2 + 8 * k, entry | QB_ENTRY_COPIED);
        }
    }
}

static void make_refcounts(struct builder *b)
{
    uint64_t entries, first, blocks = 1;

    b->order = b->s->version == 2 ? 4 : b->s->refcount_order;
    for (uint64_t c = 0; c < b->next; c++)
        if (b->counts[c] > qb_refcount_max(b->order))
            b->order = 4;
    entries = CS * 8 >> b->order;
    b->reftable = take_part(b);
    while (blocks * entries < b->next + blocks)
        blocks++;
    first = take_part(b);
    take(b, blocks - 1);
    b->counts[b->reftable / CS] = 1;
    for (uint64_t i = 0; i < blocks; i++) {
        put64(b, b->reftable + 8 * i, first + i * CS);
        b->counts[first / CS + i] = 1;
    }
    for (uint64_t c = 0; c < b->next; c++)
        qb_refcount_put(b->t->bytes + first + c / entries * CS, c % entries, b->order,
                        b->counts[c]);
}

/* ---- the header ------------------------------------------------------------------------------ */

static uint64_t put_ext(struct builder *b, uint64_t at, uint32_t type, const void *data, size_t len)
{
    struct qb_disk_ext e = {be32_of(type), be32_of((uint32_t)len)};

    memcpy(b->t->bytes + at, &e, sizeof(e));
    if (len)
        memcpy(b->t->bytes + at + sizeof(e), data, len);
    return at + sizeof(e) + (len + 7) / 8 * 8;
}

static uint64_t put_exts(struct builder *b, uint64_t at)
{
    struct qb_disk_bitmaps_ext bitmaps = {be32_of(1), be32_of(0), be64_of(b->bitmap_directory_size),
                                          be64_of(b->bitmap_directory)};

    if (b->s->backing)
        at = put_ext(b, at, QB_EXT_BACKING_FORMAT, "raw", 3);
    if (b->bitmap_directory)
        at = put_ext(b, at, QB_EXT_BITMAPS, &bitmaps, sizeof(bitmaps));
    if (b->s->unknown_ext)
        at = put_ext(b, at, 0x12345678, "keep me as I am", 15);
    return put_ext(b, at, QB_EXT_END, NULL, 0);
}

static void make_header(struct builder *b)
{
    const struct tiny_shape *s = b->s;
    uint32_t length = s->version == 2 ? 72 : s->short_header ? 104 : 112;
    struct qb_disk_header d = {
        .magic = be32_of(QB_MAGIC),
        .version = be32_of(s->version),
        .cluster_bits = be32_of(9),
        .size = be64_of(disk_size(s)),
        .l1_size = be32_of(TINY_L1),
        .l1_table_offset = be64_of(b->l1[0]),
        .refcount_table_offset = be64_of(b->reftable),
        .refcount_table_clusters = be32_of(1),
        .nb_snapshots = be32_of(s->snapshots),
        .snapshots_offset = be64_of(b->snapshots),
        .incompatible = be64_of(s->dirty ? QB_INCOMPAT_DIRTY : 0),
        .compatible = be64_of(s->dirty ? QB_COMPAT_LAZY_REFCOUNTS : 0),
        .autoclear = be64_of(b->bitmap_directory ? QB_AUTOCLEAR_BITMAPS : 0),
        .refcount_order = be32_of(b->order),
        .header_length = be32_of(length),
    };
    uint64_t end = put_exts(b, length);

    if (s->backing) {
        d.backing_file_offset = be64_of(end);
        d.backing_file_size = be32_of((uint32_t)strlen(s->backing));
        memcpy(b->t->bytes + end, s->backing, strlen(s->backing));
    }
    memcpy(b->t->bytes, &d, length);
}

void tiny_build(const struct tiny_shape *shape, struct tiny *out)
{
    struct builder b = {.s = shape, .t = out};

    memset(out, 0, sizeof(*out));
    take_part(&b);
    for (unsigned layer = 0; layer <= shape->snapshots; layer++)
        make_layer(&b, layer);
    make_snapshots(&b);
    make_bitmaps(&b);
    count_all(&b);
    set_copied(&b);
    make_refcounts(&b);
    make_header(&b);
    out->size = b.next * CS;
}
