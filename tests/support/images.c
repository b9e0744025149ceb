#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "images_parts.h"
#include "must.h"

#define MAX_SNAPSHOTS 12
#define MAX_LEAKS     64
#define MAX_BITMAPS   3
#define BITMAP_ENTRY  40u /* bytes of the directory, with a name of 9 */
#define COPIED        (1ull << 63)
#define COMPRESSED    (1ull << 62)
#define ZERO          1ull
#define PARTIAL       2ull /* in memory: extended entries, see subclusters() */
#define IDLE          4ull
#define OFFSET        0x00fffffffffffe00ull

struct table {
    unsigned refs; /* L1 tables that name it */
    uint64_t host; /* bytes */
    uint64_t entries[];
};

struct layer {
    struct table **l1;
    uint32_t l1_size;
    uint64_t l1_host;
    uint64_t disk_size, vm_state_size;
};

struct image {
    const struct image_shape *shape;
    uint64_t cs, l2_entries; /* bytes; entries */
    uint8_t *file;
    uint64_t clusters, room; /* host clusters in use and there */
    uint64_t packed;         /* byte where the next compressed cluster goes; 0: in a new one */
    uint64_t size;           /* virtual, bytes */
    struct layer active, snapshots[MAX_SNAPSHOTS];
    unsigned n_snapshots;
    uint64_t vm_clusters; /* of VM state, written so far */
    uint64_t leaks[MAX_LEAKS];
    unsigned n_leaks;
    uint64_t reftable_host, first_block, snapshots_host;
    uint64_t bitmaps_host, bitmap_tables[MAX_BITMAPS], bitmap_data[MAX_BITMAPS];
    uint64_t *blocks; /* host offsets of the refcount blocks */
    uint64_t n_blocks;
    uint32_t *counts; /* one a host cluster */
    unsigned written; /* clusters of data so far: makes each different */
    struct image_data data;
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static void put16(uint8_t *at, uint64_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint64_t v)
{
    put16(at, v >> 16);
    put16(at + 2, v);
}

static void put64(uint8_t *at, uint64_t v)
{
    put32(at, v >> 32);
    put32(at + 4, v);
}

static void fail(const char *why)
{
    fprintf(stderr, "images.c: %s\n", why);
    abort();
}

/* ---- host clusters --------------------------------------------------------------------------- */

static uint64_t alloc(struct image *m, uint64_t n)
{
    uint64_t first = m->clusters;

    m->clusters += n;
    if (m->clusters > m->room) {
        uint64_t old = m->room;

        m->room = m->clusters + 16;
        m->file = must(realloc(m->file, m->room * m->cs));
        memset(m->file + old * m->cs, 0, (m->room - old) * m->cs);
    }
    return first * m->cs;
}

/* Bytes that no other cluster has; never all zero in any sector. */
static void fill_data(struct image *m, uint8_t *at, bool dull)
{
    uint32_t x = ++m->written * 2654435761u | 1;

    for (uint64_t i = 0; i < m->cs; i += 4) {
        put32(at + i, x);
        if (!dull || i % 256 == 252) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
        }
    }
}

static uint64_t new_data(struct image *m)
{
    uint64_t at = alloc(m, 1);

    fill_data(m, m->file + at, false);
    return at;
}

/* Data of a guest cluster, wherever that goes; an entry. */
static uint64_t new_place(struct image *m, uint64_t cluster)
{
    if (!m->shape->data_file)
        return new_data(m);
    fill_data(m, image_data_cluster(&m->data, cluster * m->cs, m->cs), false);
    return cluster * m->cs | COPIED; /* also at offset 0 */
}

/* Deflates a cluster of data next to the last one; returns its L2 entry. */
static uint64_t new_compressed(struct image *m)
{
    unsigned x = 70 - m->shape->cluster_bits;
    uint8_t *plain = must(malloc(m->cs)), *packed = must(malloc(m->cs * 2));
    z_stream z = {.next_in = plain,
                  .avail_in = (uInt)m->cs,
                  .next_out = packed,
                  .avail_out = (uInt)m->cs * 2};
    uint64_t at, len, end;

    fill_data(m, plain, true);
    if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflate(&z, Z_FINISH) != Z_STREAM_END)
        fail("deflate");
    len = z.total_out;
    deflateEnd(&z);
    if (len >= m->cs)
        fail("a cluster that does not get smaller");
    if (!m->packed || (m->packed % m->cs + len > m->cs && m->packed / m->cs + 1 != m->clusters))
        m->packed = alloc(m, 1);
    at = m->packed;
    if (at + len > m->clusters * m->cs)
        alloc(m, 1); /* the next cluster of the file: the data crosses into it */
    memcpy(m->file + at, packed, len);
    m->packed = (at + len) % m->cs ? at + len : 0;
    free(plain);
    free(packed);
    end = (at + len - 1) / 512;
    return COMPRESSED | (end - at / 512) << x | at;
}

/* ---- guest clusters -------------------------------------------------------------------------- */

static unsigned entry_size(const struct image_shape *shape)
{
    return shape->extended_l2 ? 16 : 8;
}

uint64_t image_l1_span(const struct image_shape *shape)
{
    return (1ull << shape->cluster_bits) * ((1ull << shape->cluster_bits) / entry_size(shape));
}

static uint64_t l1_needed(const struct image *m, uint64_t size)
{
    uint64_t span = m->cs * m->l2_entries;

    return size / span + (size % span != 0);
}

static void grow_l1(struct image *m, uint32_t entries)
{
    struct layer *a = &m->active;
    uint64_t per_cluster = m->cs / 8;

    if (entries <= a->l1_size)
        return;
    a->l1 = must(realloc(a->l1, entries * sizeof(*a->l1)));
    memset(a->l1 + a->l1_size, 0, (entries - a->l1_size) * sizeof(*a->l1));
    if (!a->l1_host ||
        (entries + per_cluster - 1) / per_cluster > (a->l1_size + per_cluster - 1) / per_cluster)
        a->l1_host = alloc(m, (entries + per_cluster - 1) / per_cluster);
    a->l1_size = entries;
}

/* The active layer's own table for this L1 entry. */
static struct table *own_table(struct image *m, uint64_t index)
{
    size_t bytes = sizeof(struct table) + m->l2_entries * 8;
    struct table *old, *t;

    grow_l1(m, (uint32_t)index + 1);
    old = m->active.l1[index];
    if (old && old->refs == 1)
        return old;
    t = must(calloc(1, bytes));
    if (old) {
        memcpy(t, old, bytes);
        old->refs--;
    }
    t->refs = 1;
    t->host = alloc(m, 1);
    m->active.l1[index] = t;
    return t;
}

static void set_cell(struct image *m, uint64_t cluster, char what)
{
    struct table *t = own_table(m, cluster / m->l2_entries);
    uint64_t *e = &t->entries[cluster % m->l2_entries];
    bool has_cluster = (*e & (OFFSET | COPIED)) && !(*e & COMPRESSED);

    switch (what) {
    case 'd':
        *e = new_place(m, cluster);
        break;
    case 'o':
        *e = alloc(m, 1);
        break;
    case 'c':
        *e = new_compressed(m);
        break;
    case 'z':
        *e = ZERO;
        break;
    case 'p':
        *e = new_place(m, cluster) | PARTIAL;
        break;
    case 'i':
        *e = new_place(m, cluster) | IDLE;
        break;
    case 'Z':
        *e = (has_cluster ? *e & (OFFSET | COPIED) : new_place(m, cluster)) | ZERO;
        break;
    default:
        *e = 0;
    }
}

static void take_snapshot(struct image *m)
{
    struct layer *s = &m->snapshots[m->n_snapshots++], *a = &m->active;
    uint64_t per_cluster = m->cs / 8;

    if (m->n_snapshots > MAX_SNAPSHOTS)
        fail("too many snapshots");
    *s = *a;
    s->disk_size = m->size;
    s->vm_state_size = m->vm_clusters * m->cs;
    s->l1 = must(malloc((a->l1_size ? a->l1_size : 1) * sizeof(*s->l1)));
    if (a->l1_size)
        memcpy(s->l1, a->l1, a->l1_size * sizeof(*s->l1));
    for (uint32_t i = 0; i < s->l1_size; i++)
        if (s->l1[i])
            s->l1[i]->refs++;
    s->l1_host = s->l1_size ? alloc(m, (s->l1_size + per_cluster - 1) / per_cluster) : 0;
}

static void drop_layer(struct layer *l)
{
    for (uint32_t i = 0; i < l->l1_size; i++)
        if (l->l1[i] && --l->l1[i]->refs == 0)
            free(l->l1[i]);
    free(l->l1);
}

static unsigned snapshot_index(const struct image *m, uint64_t n)
{
    if (n < 1 || n > m->n_snapshots)
        fail("no such snapshot");
    return (unsigned)n - 1;
}

static void delete_snapshot(struct image *m, uint64_t n)
{
    unsigned i = snapshot_index(m, n);

    drop_layer(&m->snapshots[i]);
    memmove(&m->snapshots[i], &m->snapshots[i + 1], (--m->n_snapshots - i) * sizeof(*m->snapshots));
}

/* The active layer becomes what the snapshot is: its tables are shared, the L1 table is a copy. */
static void apply_snapshot(struct image *m, uint64_t n)
{
    const struct layer *s = &m->snapshots[snapshot_index(m, n)];

    for (uint32_t i = 0; i < s->l1_size; i++)
        if (s->l1[i])
            s->l1[i]->refs++;
    grow_l1(m, s->l1_size);
    for (uint32_t i = 0; i < m->active.l1_size; i++) {
        struct table *t = m->active.l1[i];

        if (t && --t->refs == 0)
            free(t);
        m->active.l1[i] = i < s->l1_size ? s->l1[i] : NULL;
    }
    m->size = s->disk_size;
}

/* ---- the script ------------------------------------------------------------------------------ */

static void play(struct image *m, const char *script)
{
    uint64_t at = 0, vm = l1_needed(m, m->size) * m->l2_entries;

    while (*script) {
        char what = *script++;
        char *end;
        uint64_t n = strtoull(script, &end, 10);
        bool plain = end == script;

        script = end;
        if (m->shape->data_file && strchr("SVco", what))
            fail("what an image with a data file cannot have");
        n = plain ? 1 : n;
        switch (what) {
        case ' ':
            break;
        case '@':
            at = n;
            break;
        case 'V':
            at = vm = l1_needed(m, m->size) * m->l2_entries;
            m->vm_clusters = 0;
            break;
        case 'S':
            take_snapshot(m);
            break;
        case 'A':
            apply_snapshot(m, n);
            break;
        case 'X':
            delete_snapshot(m, n);
            break;
        case 'R':
            m->size = n;
            grow_l1(m, (uint32_t)l1_needed(m, n));
            vm = l1_needed(m, n) * m->l2_entries;
            break;
        case 'L':
            for (; n; n--)
                m->leaks[m->n_leaks++ % MAX_LEAKS] = alloc(m, 1) / m->cs;
            break;
        case 'H':
            alloc(m, n);
            break;
        default:
            if (!strchr("dozcZpi.", what))
                fail("a word that the script may not have");
            for (; n; n--, at++) {
                set_cell(m, at, what);
                if (at >= vm && what != '.')
                    m->vm_clusters = at - vm + 1;
            }
        }
    }
}

/* ---- bitmaps --------------------------------------------------------------------------------- */

/* Entries of a bitmap's table, one bit a sector of the disk: one cluster of them at most. */
static uint64_t bitmap_entries(const struct image *m)
{
    uint64_t bytes = (m->size + 4095) / 4096;

    return (bytes + m->cs - 1) / m->cs;
}

static unsigned n_bitmaps(const struct image *m)
{
    bool fit = m->shape->version == 3 && m->size && bitmap_entries(m) <= m->cs / 8;

    return fit ? m->shape->bitmaps : 0;
}

static void make_bitmaps(struct image *m)
{
    unsigned n = n_bitmaps(m);

    if (n > MAX_BITMAPS)
        fail("too many bitmaps");
    if (n)
        m->bitmaps_host = alloc(m, 1);
    for (unsigned i = 0; i < n; i++) {
        m->bitmap_tables[i] = alloc(m, 1);
        m->bitmap_data[i] = new_data(m);
    }
}

/* Of each table the first entry is data, the others stand for all ones or all zeros. */
static void write_bitmaps(struct image *m)
{
    for (unsigned i = 0; i < n_bitmaps(m); i++) {
        uint8_t *e = m->file + m->bitmaps_host + (uint64_t)i * BITMAP_ENTRY;
        uint64_t entries = bitmap_entries(m);

        put64(e, m->bitmap_tables[i]);
        put32(e + 8, entries);
        put32(e + 12, m->shape->bitmaps_in_use >> i & 1);
        e[16] = 1;
        e[17] = 9;
        put16(e + 18, 9);
        memcpy(e + 24, "bitmap  ", 8);
        e[32] = (uint8_t)('1' + i);
        put64(m->file + m->bitmap_tables[i], m->bitmap_data[i]);
        for (uint64_t k = 1; k < entries; k++)
            put64(m->file + m->bitmap_tables[i] + 8 * k, k % 2);
    }
}

/* ---- refcounts ------------------------------------------------------------------------------- */

static void count(struct image *m, uint64_t offset, uint64_t len)
{
    for (uint64_t c = offset / m->cs; len && c <= (offset + len - 1) / m->cs; c++)
        m->counts[c]++;
}

static void count_entry(struct image *m, uint64_t e)
{
    unsigned x = 70 - m->shape->cluster_bits;

    if (e & COMPRESSED) {
        uint64_t at = e & ((1ull << x) - 1), sectors = ((e & ~COMPRESSED) >> x) + 1;

        count(m, at & ~511ull, sectors * 512);
    } else if ((e & OFFSET) && !m->shape->data_file) {
        count(m, e & OFFSET, m->cs);
    }
}

static void count_layer(struct image *m, const struct layer *l)
{
    count(m, l->l1_host, 8ull * l->l1_size);
    for (uint32_t i = 0; i < l->l1_size; i++) {
        if (!l->l1[i])
            continue;
        count(m, l->l1[i]->host, m->cs);
        for (uint64_t k = 0; k < m->l2_entries; k++)
            count_entry(m, l->l1[i]->entries[k]);
    }
}

static uint32_t snapshot_extra(const struct image *m)
{
    if (m->shape->snapshot_extra == IMAGE_NO_EXTRA)
        return 0;
    return m->shape->snapshot_extra || m->shape->version == 2 ? m->shape->snapshot_extra : 24;
}

static uint64_t snapshot_entry_len(const struct image *m, unsigned i)
{
    char name[32];

    return 40 + snapshot_extra(m) + 1 + (uint64_t)snprintf(name, sizeof(name), "snap number %u", i);
}

static uint64_t snapshot_table_len(const struct image *m)
{
    uint64_t len = 0;

    for (unsigned i = 0; i < m->n_snapshots; i++)
        len = (len + 7) / 8 * 8 + snapshot_entry_len(m, i);
    return len;
}

/* Allocates what is still missing, and counts. */
static void reckon(struct image *m)
{
    uint64_t per_block = m->cs * 8 >> m->shape->refcount_order;

    if (m->n_snapshots)
        m->snapshots_host = alloc(m, (snapshot_table_len(m) + m->cs - 1) / m->cs);
    make_bitmaps(m);
    m->blocks = must(calloc(m->cs / 8, sizeof(*m->blocks)));
    m->blocks[0] = m->first_block;
    for (m->n_blocks = 1; m->n_blocks * per_block < m->clusters; m->n_blocks++) {
        if (m->n_blocks == m->cs / 8)
            fail("the refcount table is full");
        m->blocks[m->n_blocks] = alloc(m, 1);
    }
    m->counts = must(calloc(m->clusters + 1, sizeof(*m->counts)));
    count(m, 0, m->cs);
    count(m, m->reftable_host, m->cs);
    for (uint64_t i = 0; i < m->n_blocks; i++)
        count(m, m->blocks[i], m->cs);
    count(m, m->snapshots_host, snapshot_table_len(m));
    for (unsigned i = 0; i < n_bitmaps(m); i++) {
        count(m, m->bitmap_tables[i], m->cs);
        count(m, m->bitmap_data[i], m->cs);
    }
    if (n_bitmaps(m))
        count(m, m->bitmaps_host, m->cs);
    count_layer(m, &m->active);
    for (unsigned i = 0; i < m->n_snapshots; i++)
        count_layer(m, &m->snapshots[i]);
    for (unsigned i = 0; i < m->n_leaks; i++)
        m->counts[m->leaks[i]]++;
}

static void put_count(const struct image *m, uint64_t cluster, uint64_t value)
{
    unsigned order = m->shape->refcount_order, width = 1u << order;
    uint64_t per_block = m->cs * 8 >> order, i = cluster % per_block;
    uint8_t *block = m->file + m->blocks[cluster / per_block];

    if (width < 64 && value >> width)
        fail("a count that does not fit its width");
    if (width < 8) {
        unsigned shift = (unsigned)(i * width % 8);

        block[i * width / 8] =
            (uint8_t)((block[i * width / 8] & ~(((1u << width) - 1) << shift)) | value << shift);
        return;
    }
    for (unsigned byte = 0; byte < width / 8; byte++)
        block[(i + 1) * (width / 8) - 1 - byte] = (uint8_t)(value >> (8 * byte));
}

static void write_refcounts(struct image *m)
{
    for (uint64_t i = 0; i < m->n_blocks; i++)
        put64(m->file + m->reftable_host + 8 * i, m->blocks[i]);
    for (uint64_t c = 0; c < m->clusters; c++)
        put_count(m, c, m->counts[c]);
}

/* ---- tables and header ----------------------------------------------------------------------- */

static uint64_t subclusters(uint64_t e)
{
    if (e & PARTIAL)
        return 0x00f000f00f0f0f0f;
    if (e & ZERO)
        return 0xffffffff00000000;
    return (e & (OFFSET | COPIED)) && !(e & IDLE) ? 0xffffffff : 0;
}

static void write_table(struct image *m, const struct table *t, bool active)
{
    for (uint64_t k = 0; k < m->l2_entries; k++) {
        uint64_t e = t->entries[k];

        if (active && !m->shape->data_file && !(e & COMPRESSED) && (e & OFFSET) &&
            m->counts[(e & OFFSET) / m->cs] == 1)
            e |= COPIED;
        if (!m->shape->extended_l2) {
            put64(m->file + t->host + 8 * k, e);
            continue;
        }
        put64(m->file + t->host + 16 * k, e & COMPRESSED ? e : e & ~(ZERO | PARTIAL | IDLE));
        put64(m->file + t->host + 16 * k + 8, e & COMPRESSED ? 0 : subclusters(e));
    }
}

static void write_layer(struct image *m, const struct layer *l, bool active)
{
    for (uint32_t i = 0; i < l->l1_size; i++) {
        const struct table *t = l->l1[i];

        if (!t)
            continue;
        write_table(m, t, active);
        put64(m->file + l->l1_host + 8ull * i, t->host | (active && t->refs == 1 ? COPIED : 0));
    }
}

static void write_snapshots(struct image *m)
{
    uint64_t at = m->snapshots_host;

    for (unsigned i = 0; i < m->n_snapshots; i++) {
        const struct layer *s = &m->snapshots[i];
        uint32_t extra = snapshot_extra(m);
        char name[32];
        uint8_t *e;

        at = (at + 7) / 8 * 8;
        e = m->file + at;
        put64(e, s->l1_host);
        put32(e + 8, s->l1_size);
        put16(e + 12, 1);
        put32(e + 16, 1700000000 + i);
        put32(e + 20, 123456789);
        put64(e + 24, 987654321ull * (i + 1));
        put32(e + 32, s->vm_state_size);
        put32(e + 36, extra);
        if (extra >= 8)
            put64(e + 40, s->vm_state_size);
        if (extra >= 16)
            put64(e + 48, s->disk_size);
        if (extra >= 24)
            put64(e + 56, UINT64_MAX);
        e[40 + extra] = (uint8_t)('1' + i);
        put16(e + 14, (uint64_t)snprintf(name, sizeof(name), "snap number %u", i));
        memcpy(e + 41 + extra, name, strlen(name));
        at += snapshot_entry_len(m, i);
    }
}

static uint64_t put_ext(uint8_t *cluster, uint64_t at, uint32_t type, const void *data,
                        uint32_t len)
{
    put32(cluster + at, type);
    put32(cluster + at + 4, len);
    if (data)
        memcpy(cluster + at + 8, data, len);
    else
        memset(cluster + at + 8, 0xa5, len);
    return at + 8 + (len + 7) / 8 * 8;
}

static void write_header(struct image *m)
{
    const struct image_shape *s = m->shape;
    uint8_t *h = m->file, rows[IMAGE_FEATURE_BYTES], bitmaps[24] = {0};
    uint32_t length = s->version == 2 ? 72 : s->header_length ? s->header_length : 112;
    uint64_t at = length;

    memcpy(h, "QFI\xfb", 4);
    put32(h + 4, s->version);
    put32(h + 20, s->cluster_bits);
    put64(h + 24, m->size);
    put32(h + 36, m->active.l1_size);
    put64(h + 40, m->active.l1_host);
    put64(h + 48, m->reftable_host);
    put32(h + 56, 1);
    put32(h + 60, m->n_snapshots);
    put64(h + 64, m->snapshots_host);
    if (s->version == 3) {
        put64(h + 72, (s->dirty ? 1 : 0) | (s->marked ? 2 : 0) | (s->data_file ? 4 : 0) |
                          (s->extended_l2 ? 16 : 0));
        put64(h + 80, s->lazy_refcounts);
        put32(h + 96, s->refcount_order);
        put32(h + 100, length);
    }
    if (s->backing_fmt)
        at = put_ext(h, at, 0xe2792aca, s->backing_fmt, (uint32_t)strlen(s->backing_fmt));
    if (s->data_file)
        at = put_ext(h, at, 0x44415441, s->data_file, (uint32_t)strlen(s->data_file));
    if (s->data_raw)
        h[95] |= 2;
    image_feature_names(rows);
    if (s->feature_names)
        at = put_ext(h, at, 0x6803f857, rows, IMAGE_FEATURE_BYTES);
    if (s->unknown_ext)
        at = put_ext(h, at, 0x12345678, NULL, s->unknown_ext);
    if (n_bitmaps(m)) {
        put32(bitmaps, n_bitmaps(m));
        put64(bitmaps + 8, (uint64_t)n_bitmaps(m) * BITMAP_ENTRY);
        put64(bitmaps + 16, m->bitmaps_host);
        at = put_ext(h, at, 0x23852875, bitmaps, sizeof(bitmaps));
        h[95] |= 1;
    }
    at = put_ext(h, at, 0, "", 0);
    if (!s->backing_file)
        return;
    if (at + strlen(s->backing_file) > m->cs)
        fail("no room for the backing name");
    memcpy(h + at, s->backing_file, strlen(s->backing_file));
    put64(h + 8, at);
    put32(h + 16, strlen(s->backing_file));
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* What a crash of a guest with lazy refcounts leaves: counts too low, counts too high, and COPIED
 * flags as they were when the counts were still right. */
static void make_dirty(struct image *m)
{
    uint64_t max =
        m->shape->refcount_order >= 5 ? UINT32_MAX : (1ull << (1u << m->shape->refcount_order)) - 1;

    for (uint64_t c = 5; c < m->clusters; c++) {
        if (c % 3 == 0)
            put_count(m, c, 0);
        else if (c % 5 == 0 && m->counts[c] < max)
            put_count(m, c, m->counts[c] + 1u);
    }
    for (uint32_t i = 0; i < m->active.l1_size; i++) {
        struct table *t = m->active.l1[i];

        for (uint64_t k = 0; t && t->refs == 1 && !m->data.bytes && k < m->l2_entries; k += 2)
            if (t->entries[k] && !(t->entries[k] & COMPRESSED))
                m->file[t->host + entry_size(m->shape) * k] &= 0x7f;
    }
}

static void count_behind(struct image *m)
{
    uint64_t per_block = m->cs * 8 >> m->shape->refcount_order;

    for (uint64_t c = m->clusters + 1; c < m->n_blocks * per_block && c < m->clusters + 4; c++)
        put_count(m, c, 1);
}

static void finish_data(const struct image *m, struct image_bytes *out)
{
    image_data_begin(m->shape, m->size, out);
    for (uint64_t i = 0; i < m->active.l1_size * m->l2_entries; i++) {
        const struct table *t = m->active.l1[i / m->l2_entries];
        uint64_t e = t ? t->entries[i % m->l2_entries] : 0;

        if (e & COPIED)
            image_data_show(&m->data, i * m->cs, m->cs, (uint32_t)subclusters(e), m->size, out);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static struct image_bytes finish(struct image *m)
{
    struct image_bytes out = {0};
    uint64_t last = m->clusters;

    reckon(m);
    for (unsigned i = 0; i < m->n_snapshots; i++)
        write_layer(m, &m->snapshots[i], false);
    write_layer(m, &m->active, true);
    write_snapshots(m);
    write_bitmaps(m);
    write_refcounts(m);
    write_header(m);
    if (m->shape->dirty || m->shape->wrong_counts)
        make_dirty(m);
    if (m->shape->counts_behind)
        count_behind(m);
    if (m->shape->lost_snapshots)
        memset(m->file + 60, 0, 12);
    if (m->shape->cut_bytes && m->clusters != last)
        fail("the last cluster is not data");
    out.damaged = m->shape->marked || m->shape->wrong_counts;
    out.size = m->clusters * m->cs - m->shape->cut_bytes + m->shape->tail_bytes;
    out.bytes = must(malloc(out.size));
    memcpy(out.bytes, m->file, m->clusters * m->cs - m->shape->cut_bytes);
    memset(out.bytes + out.size - m->shape->tail_bytes, 0x5a, m->shape->tail_bytes);
    if (m->shape->data_file)
        finish_data(m, &out);
    return out;
}

struct image_bytes image_make(const struct image_shape *shape, const char *script)
{
    struct image m = {.shape = shape, .cs = 1ull << shape->cluster_bits, .size = shape->size};
    struct image_bytes out = {0};

    m.l2_entries = m.cs / entry_size(shape);
    alloc(&m, 1);
    m.reftable_host = alloc(&m, 1);
    m.first_block = alloc(&m, 1);
    grow_l1(&m, (uint32_t)l1_needed(&m, m.size) + shape->l1_spare);
    play(&m, script);
    out = finish(&m);
    for (unsigned i = 0; i < m.n_snapshots; i++)
        drop_layer(&m.snapshots[i]);
    drop_layer(&m.active);
    free(m.file);
    free(m.data.bytes);
    free(m.blocks);
    free(m.counts);
    return out;
}
