#include "reading.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"

#define SECTOR     512u
#define COPIED     (1ull << 63)
#define COMPRESSED (1ull << 62)
#define ZERO       1ull
#define OFFSET     0x00fffffffffffe00ull

enum kind { FIXED = 1, L2_TABLE = 2, DATA = 4 };

struct file {
    const uint8_t *bytes;
    const uint8_t *data; /* the external data file; NULL: there is none */
    uint64_t data_size;
    uint64_t size, cs, l2_entries;
    unsigned entry_size;
    unsigned cluster_bits, order;
    uint64_t l1_at, l1_size, reftable_at, reftable_clusters, n_snapshots, snapshots_at;
    uint64_t n_bitmaps, bitmaps_at, bitmaps_len; /* 0 unless they are valid */
    const char *backing;
    struct reading *r;
    uint32_t *counts; /* one a cluster of the file */
    uint8_t *kinds;   /* one a cluster: what refers to it, bits of enum kind */
    uint64_t n_clusters;
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static uint64_t get(const struct file *f, uint64_t at, unsigned n)
{
    uint64_t v = 0;

    if (n == 8 && at < f->size && f->size - at >= 8) { /* what it mostly is */
        memcpy(&v, f->bytes + at, 8);
        return be64toh(v);
    }
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | (at + i < f->size ? f->bytes[at + i] : 0);
    return v;
}

static bool wrong(struct file *f, const char *what, uint64_t at)
{
    snprintf(f->r->wrong, sizeof(f->r->wrong), "%s (0x%llx)", what, (unsigned long long)at);
    return false;
}

static void damage(struct file *f, uint64_t *counter, const char *what, uint64_t at)
{
    if (!f->r->corruptions && (counter == &f->r->corruptions || !f->r->leaks))
        snprintf(f->r->damage, sizeof(f->r->damage), "%s (0x%llx)", what, (unsigned long long)at);
    ++*counter;
}

static void corrupt(struct file *f, const char *what, uint64_t at)
{
    damage(f, &f->r->corruptions, what, at);
}

static uint64_t mix(uint64_t h)
{
    h = (h ^ 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;
    return h ^ h >> 32;
}

uint64_t reading_print(const uint8_t *bytes, uint64_t n)
{
    uint64_t lanes[4] = {n, 1, 2, 3}, any = 0, h = 0; /* four at a time keep a processor busy */
    uint64_t i = 0;

    for (; n - i >= 32; i += 32) {
        for (unsigned k = 0; k < 4; k++) {
            uint64_t word;

            memcpy(&word, bytes + i + 8 * k, 8);
            any |= word;
            lanes[k] = mix(lanes[k] ^ word);
        }
    }
    for (; i < n; i += 8) {
        uint64_t word = 0;

        memcpy(&word, bytes + i, n - i < 8 ? n - i : 8);
        any |= word;
        lanes[0] = mix(lanes[0] ^ word);
    }
    for (unsigned k = 0; k < 4; k++)
        h = mix(h ^ lanes[k]);
    return any ? h | 1 : 0;
}

/* ---- guest content --------------------------------------------------------------------------- */

/* Sectors of one cluster from its bytes: those behind `end` (guest bytes) read zero. */
static void print_cluster(const struct file *f, const uint8_t *cluster, uint64_t guest,
                          uint64_t end, uint64_t *out)
{
    uint8_t last[SECTOR] = {0};

    for (uint64_t i = 0; i < f->cs && guest + i < end; i += SECTOR) {
        if (end - guest - i >= SECTOR) {
            out[i / SECTOR] = reading_print(cluster + i, SECTOR);
            continue;
        }
        memcpy(last, cluster + i, end - guest - i);
        out[i / SECTOR] = reading_print(last, SECTOR);
    }
}

static bool inflate_cluster(struct file *f, uint64_t entry, uint8_t *cluster)
{
    unsigned x = 70 - f->cluster_bits;
    uint64_t at = entry & ((1ull << x) - 1), n = ((entry & ~COMPRESSED) >> x) + 1, have;

    if (at >= f->size)
        return wrong(f, "compressed data outside the file", at);
    have = n * SECTOR - at % SECTOR;
    have = have < f->size - at ? have : f->size - at;
    return reading_decompress(f->r->incompatible & 8, f->bytes + at, have, cluster, f->cs) ||
           wrong(f, "compressed data is damaged", at);
}

/* A sector of the guest in the external data file, up to `end`: zeros past the file's end. */
static uint64_t data_sector(const struct file *f, uint64_t guest, uint64_t end)
{
    uint64_t stop = end < f->data_size ? end : f->data_size;
    uint64_t n = guest < stop ? stop - guest : 0;
    uint8_t bytes[SECTOR] = {0};

    memcpy(bytes, f->data + guest, n < SECTOR ? n : SECTOR);
    return reading_print(bytes, SECTOR);
}

/* A cluster that must be where the guest has it. */
static bool read_data(struct file *f, uint64_t at, uint64_t guest, uint64_t end, uint64_t *out)
{
    if (at != guest)
        return wrong(f, "a cluster that is not at its guest offset in the data file", at);
    for (uint64_t i = 0; i < f->cs && guest + i < end; i += SECTOR)
        out[i / SECTOR] = data_sector(f, guest + i, end);
    return true;
}

/* An extended entry, sector by sector. */
static bool read_subclusters(struct file *f, uint64_t entry, uint64_t bitmap, uint64_t guest,
                             uint64_t end, uint64_t *out)
{
    uint64_t at = entry & OFFSET;
    bool placed = at || (f->data && entry & COPIED);

    if (at % f->cs || (f->data ? placed && at != guest : at >= f->size) ||
        ((uint32_t)bitmap & bitmap >> 32) || (!placed && (uint32_t)bitmap))
        return wrong(f, "an extended entry that cannot be", at);
    for (uint64_t i = 0; i < f->cs && guest + i < end; i += SECTOR) {
        unsigned sub = (unsigned)(i / (f->cs / 32));
        uint64_t len = end - guest - i < SECTOR ? end - guest - i : SECTOR;
        uint8_t bytes[SECTOR] = {0};

        if (bitmap >> (32 + sub) & 1)
            continue;
        if (!(bitmap >> sub & 1)) {
            out[i / SECTOR] =
                reading_backing_sector(f->backing, (guest + i) / SECTOR, end - guest - i);
            continue;
        }
        if (f->data) {
            out[i / SECTOR] = data_sector(f, guest + i, end);
            continue;
        }
        if (at + i < f->size)
            memcpy(bytes, f->bytes + at + i, len < f->size - at - i ? len : f->size - at - i);
        out[i / SECTOR] = reading_print(bytes, SECTOR);
    }
    return true;
}

static bool read_cluster(struct file *f, uint64_t entry, uint64_t bitmap, uint64_t guest,
                         uint64_t end, uint64_t *out)
{
    uint64_t at = entry & OFFSET;
    uint8_t *cluster;
    bool ok = true;

    if (f->entry_size == 16 && !(entry & COMPRESSED))
        return read_subclusters(f, entry, bitmap, guest, end, out);
    if (entry & COMPRESSED) {
        cluster = must(calloc(1, f->cs));
        ok = inflate_cluster(f, entry, cluster);
    } else if (f->r->version == 3 && (entry & ZERO)) {
        return true;
    } else if (f->data && (at || entry & COPIED)) {
        return read_data(f, at, guest, end, out);
    } else if (at == 0) {
        for (uint64_t i = 0; i < f->cs && guest + i < end; i += SECTOR)
            out[i / SECTOR] =
                reading_backing_sector(f->backing, (guest + i) / SECTOR, end - guest - i);
        return true;
    } else if (at % f->cs || at >= f->size) {
        return wrong(f, "a data cluster outside the file", at);
    } else if (at + f->cs <= f->size) {
        print_cluster(f, f->bytes + at, guest, end, out);
        return true;
    } else {
        cluster = must(calloc(1, f->cs));
        memcpy(cluster, f->bytes + at, f->size - at);
    }
    if (ok)
        print_cluster(f, cluster, guest, end, out);
    free(cluster);
    return ok;
}

/* Guest bytes [first, end) of the L1 table at l1_at; *out gets a fingerprint a sector. */
static bool read_range(struct file *f, uint64_t l1_at, uint64_t l1_size, uint64_t first,
                       uint64_t end, uint64_t **out)
{
    uint64_t *prints = must(calloc((end - first) / SECTOR + 2, sizeof(*prints)));

    *out = prints;
    for (uint64_t guest = first; guest < end; guest += f->cs) {
        uint64_t index = guest / f->cs / f->l2_entries, entry = 0, bitmap = 0, l2, place;

        if (index >= l1_size)
            return wrong(f, "the L1 table is too short", l1_at);
        l2 = get(f, l1_at + 8 * index, 8) & OFFSET;
        if (l2 % f->cs || (l2 && l2 + f->cs > f->size))
            return wrong(f, "an L2 table outside the file", l2);
        if (!l2 && !f->backing[0]) {
            guest = (index + 1) * f->l2_entries * f->cs - f->cs;
            continue;
        }
        place = l2 + guest / f->cs % f->l2_entries * f->entry_size;
        if (l2)
            entry = get(f, place, 8);
        if (l2 && f->entry_size == 16)
            bitmap = get(f, place + 8, 8);
        if (!entry && !bitmap && !f->backing[0])
            continue;
        if (!read_cluster(f, entry, bitmap, guest, end, prints + (guest - first) / SECTOR))
            return false;
    }
    return true;
}

static bool read_layer(struct file *f, uint64_t l1_at, uint64_t l1_size, uint64_t disk_size,
                       uint64_t vm_size)
{
    uint64_t span = f->cs * f->l2_entries, vm;
    struct reading_layer *l = &f->r->layers[f->r->n_layers++];

    if (f->r->n_layers > READING_LAYERS)
        abort();
    if (disk_size > 1ull << 32 || vm_size > 1ull << 28)
        return wrong(f, "a disk larger than any test makes", disk_size);
    if (l1_size && (l1_at == 0 || l1_at % f->cs || l1_at + 8 * l1_size > f->size))
        return wrong(f, "an L1 table outside the file", l1_at);
    l->disk_size = disk_size;
    l->vm_size = vm_size;
    vm = (disk_size + span - 1) / span * span;
    return read_range(f, l1_at, l1_size, 0, disk_size, &l->disk) &&
           read_range(f, l1_at, l1_size, vm, vm + vm_size, &l->vm);
}

static void find_lacking(struct file *f)
{
    uint64_t n = (f->r->size + f->cs - 1) / f->cs, last, l2;

    for (; n; n--) {
        last = n - 1;
        l2 = last / f->l2_entries < f->l1_size
                 ? get(f, f->l1_at + 8 * (last / f->l2_entries), 8) & OFFSET
                 : 0;
        if (!l2 || !(get(f, l2 + last % f->l2_entries * f->entry_size, 8) & (OFFSET | COMPRESSED)))
            break;
    }
    f->r->lacking_end = n;
}

/* ---- the count ------------------------------------------------------------------------------- */

static void refer(struct file *f, uint64_t at, uint64_t len, enum kind kind, const char *what)
{
    if (len == 0)
        return;
    if (at + len > f->n_clusters * f->cs || (kind != DATA && at % f->cs)) {
        corrupt(f, what, at);
        return;
    }
    for (uint64_t c = at / f->cs; c <= (at + len - 1) / f->cs; c++) {
        f->counts[c]++;
        if ((f->kinds[c] | kind) != kind || (kind == FIXED && f->kinds[c]))
            corrupt(f, "a cluster that is two things", c * f->cs);
        f->kinds[c] |= (uint8_t)kind;
    }
}

static void refer_entry(struct file *f, uint64_t e)
{
    unsigned x = 70 - f->cluster_bits;

    if (e & COMPRESSED && f->data)
        corrupt(f, "compressed data in an image with a data file", e);
    if (e & COMPRESSED) {
        uint64_t at = e & ((1ull << x) - 1), n = ((e & ~COMPRESSED) >> x) + 1;

        refer(f, at & ~511ull, n * SECTOR, DATA, "compressed data outside the file");
        if (e & COPIED)
            corrupt(f, "COPIED on compressed data", at);
        return;
    }
    if (e &
        (f->r->version == 3 && !f->r->extended_l2 ? 0x3f000000000001feull : 0x3f000000000001ffull))
        corrupt(f, "reserved bits in an L2 entry", e);
    if (e & OFFSET & (f->cs - 1))
        corrupt(f, "a data cluster that is not aligned", e);
    else if ((e & OFFSET) && !f->data)
        refer(f, e & OFFSET, f->cs, DATA, "a data cluster outside the file");
}

static void refer_layer(struct file *f, uint64_t l1_at, uint64_t l1_size)
{
    for (uint64_t i = 0; i < l1_size; i++) {
        uint64_t e = get(f, l1_at + 8 * i, 8), l2 = e & OFFSET;

        if (e & 0x7f000000000001ffull)
            corrupt(f, "reserved bits in an L1 entry", l1_at + 8 * i);
        if (!l2)
            continue;
        if (l2 % f->cs || l2 + f->cs > f->size) {
            corrupt(f, "an L2 table outside the file", l2);
            continue;
        }
        refer(f, l2, f->cs, L2_TABLE, "an L2 table");
        for (uint64_t k = 0; k < f->l2_entries; k++)
            if (get(f, l2 + f->entry_size * k, 8))
                refer_entry(f, get(f, l2 + f->entry_size * k, 8));
    }
}

static uint64_t refcount(const struct file *f, uint64_t cluster)
{
    uint64_t width = 1ull << f->order, per_block = f->cs * 8 / width, i = cluster % per_block;
    uint64_t block = 0;

    if (cluster / per_block < f->reftable_clusters * f->cs / 8)
        block = get(f, f->reftable_at + cluster / per_block * 8, 8) & ~511ull;
    if (!block)
        return 0;
    if (width >= 8)
        return get(f, block + i * (width / 8), (unsigned)(width / 8));
    return get(f, block + i * width / 8, 1) >> (i * width % 8) & ((1u << width) - 1);
}

static void check_copied(struct file *f, uint64_t entry, uint64_t at)
{
    uint64_t rc = refcount(f, (entry & OFFSET) / f->cs);

    if ((entry & OFFSET) && (rc == 1) != !!(entry & COPIED))
        corrupt(f, "COPIED does not fit the refcount", at);
}

/* Of an L2 entry: what lies in a data file has no refcount, and counts as one. */
static void check_placed(struct file *f, uint64_t entry, uint64_t at)
{
    if (!f->data)
        check_copied(f, entry, at);
    else if ((entry & OFFSET) && !(entry & COPIED))
        corrupt(f, "no COPIED on a cluster of the data file", at);
}

static void check_active_flags(struct file *f)
{
    for (uint64_t i = 0; i < f->l1_size; i++) {
        uint64_t e = get(f, f->l1_at + 8 * i, 8), l2 = e & OFFSET;

        check_copied(f, e, f->l1_at + 8 * i);
        for (uint64_t k = 0; l2 && k < f->l2_entries; k++) {
            uint64_t at = l2 + f->entry_size * k, entry = get(f, at, 8);

            if (entry && !(entry & COMPRESSED))
                check_placed(f, entry, at);
        }
    }
}

/* Refcounts for clusters behind the end of the file. */
static void check_behind(struct file *f)
{
    uint64_t per_block = f->cs * 8 >> f->order;

    for (uint64_t i = 0; i < f->reftable_clusters * f->cs / 8; i++) {
        uint64_t block = get(f, f->reftable_at + 8 * i, 8) & ~511ull;
        uint64_t first = i * per_block, c = first > f->n_clusters ? first : f->n_clusters;

        for (; block && c < first + per_block; c++) {
            uint64_t byte = ((c - first) << f->order) / 8;

            if (byte % 8 == 0 && f->order < 6 && get(f, block + byte, 8) == 0)
                c += (64u >> f->order) - 1;
            else if (refcount(f, c)) {
                damage(f, &f->r->leaks, "a refcount behind the file's end", c * f->cs);
                f->r->behind++;
            }
        }
    }
}

static void compare_counts(struct file *f)
{
    for (uint64_t c = 0; c < f->n_clusters; c++) {
        uint64_t rc = refcount(f, c);

        f->r->free[c] = !rc && !f->counts[c] && (c + 1) * f->cs <= f->size;
        if (rc < f->counts[c])
            corrupt(f, "a refcount that is too low", c * f->cs);
        if (rc > f->counts[c])
            damage(f, &f->r->leaks, "a refcount that is too high", c * f->cs);
        f->r->full += rc == f->counts[c] && rc == UINT64_MAX >> (64 - (1u << f->order));
        if (rc || f->counts[c])
            f->r->end = (c + 1) * f->cs;
    }
    check_behind(f);
    check_active_flags(f);
}

static void refer_fixed(struct file *f)
{
    refer(f, 0, f->cs, FIXED, "the header");
    refer(f, f->reftable_at, f->reftable_clusters * f->cs, FIXED, "the refcount table");
    for (uint64_t i = 0; i < f->reftable_clusters * f->cs / 8; i++) {
        uint64_t block = get(f, f->reftable_at + 8 * i, 8);

        if (block & 511)
            corrupt(f, "reserved bits in the refcount table", f->reftable_at + 8 * i);
        if (block)
            refer(f, block & ~511ull, f->cs, FIXED, "a refcount block outside the file");
    }
    refer(f, f->l1_at, 8 * f->l1_size, FIXED, "the L1 table");
}

/* ---- header and snapshots -------------------------------------------------------------------- */

static bool read_exts(struct file *f, uint64_t at, uint64_t end)
{
    struct reading *r = f->r;

    while (at + 8 <= end) {
        uint64_t type = get(f, at, 4), len = get(f, at + 4, 4);

        if (type == 0)
            return true;
        if (len > end - at - 8 || at + 8 + len > f->size)
            return wrong(f, "a header extension that is too long", at);
        if (type == 0xe2792aca && len < sizeof(r->backing_fmt)) {
            memset(r->backing_fmt, 0, sizeof(r->backing_fmt));
            memcpy(r->backing_fmt, f->bytes + at + 8, len);
        } else if (type == 0x23852875 && len == 24) {
            f->n_bitmaps = r->autoclear & 1 ? get(f, at + 8, 4) : 0;
            f->bitmaps_len = get(f, at + 16, 8);
            f->bitmaps_at = get(f, at + 24, 8);
        } else if (type == 0x44415441 && len < sizeof(r->data_file)) {
            memcpy(r->data_file, f->bytes + at + 8, len);
        } else if (type != 0x6803f857) {
            r->unknown_ext =
                r->unknown_ext * 31 + type + reading_print(f->bytes + at + 8, len) + len;
        }
        at += 8 + (len + 7) / 8 * 8;
    }
    return true;
}

static bool read_names(struct file *f)
{
    struct reading *r = f->r;
    uint64_t header = r->version == 2 ? 72 : get(f, 100, 4), at = get(f, 8, 8);
    uint64_t len = get(f, 16, 4);

    if (header < 72 || header > f->cs || (r->version == 3 && (header < 104 || header % 8)))
        return wrong(f, "the header's length", header);
    if (at && (at < header || len > 1023 || at + len > f->cs || at + len > f->size))
        return wrong(f, "the backing name's place", at);
    if (at)
        memcpy(r->backing_file, f->bytes + at, len);
    if (strlen(r->backing_file) != (at ? len : 0))
        return wrong(f, "the backing name has a NUL", at);
    return read_exts(f, header, at ? at : f->cs);
}

static bool read_header(struct file *f)
{
    struct reading *r = f->r;

    if (f->size < 512 || memcmp(f->bytes, "QFI\xfb", 4) != 0)
        return wrong(f, "no header", 0);
    r->version = (unsigned)get(f, 4, 4);
    f->cluster_bits = (unsigned)get(f, 20, 4);
    if (r->version < 2 || r->version > 3 || f->cluster_bits < 9 || f->cluster_bits > 21)
        return wrong(f, "version or cluster size", 4);
    f->cs = r->cluster_size = 1ull << f->cluster_bits;
    r->size = get(f, 24, 8);
    f->l1_size = get(f, 36, 4);
    f->l1_at = get(f, 40, 8);
    f->reftable_at = get(f, 48, 8);
    f->reftable_clusters = get(f, 56, 4);
    f->n_snapshots = get(f, 60, 4);
    f->snapshots_at = get(f, 64, 8);
    f->order = 4;
    if (r->version == 3) {
        r->incompatible = get(f, 72, 8);
        r->compatible = get(f, 80, 8);
        r->autoclear = get(f, 88, 8);
        f->order = (unsigned)get(f, 96, 4);
        r->extended_l2 = r->incompatible & 16;
        r->incompatible &= ~16ull;
        if (!!(r->incompatible & 8) != (get(f, 100, 4) > 104 && f->bytes[104] == 1))
            return wrong(f, "the compression type", 104);
    }
    f->entry_size = r->extended_l2 ? 16 : 8;
    f->l2_entries = f->cs / f->entry_size;
    if (r->extended_l2 && f->cluster_bits < 14)
        return wrong(f, "extended L2 entries in small clusters", 20);
    r->refcount_bits = 1u << (f->order & 7);
    if (f->order > 6 || (r->incompatible & ~15ull))
        return wrong(f, "refcount order or features", r->incompatible);
    r->data_raw = r->autoclear & 2;
    r->data_size = f->data_size;
    if (!(r->incompatible & 4) != !f->data || (r->data_raw && !f->data))
        return wrong(f, "a data file and the header's bits", r->incompatible);
    if (f->reftable_at % f->cs || !f->reftable_at ||
        f->reftable_at + f->reftable_clusters * f->cs > f->size)
        return wrong(f, "the refcount table's place", f->reftable_at);
    if (f->l1_size > 1 << 20 || f->n_snapshots >= READING_LAYERS)
        return wrong(f, "an L1 or snapshot table larger than any test makes", 36);
    return read_names(f);
}

static bool read_snapshots(struct file *f)
{
    uint64_t at = f->snapshots_at, i;

    if (f->n_snapshots && (at == 0 || at % f->cs))
        return wrong(f, "the snapshot table's place", at);
    for (i = 0; i < f->n_snapshots; i++) {
        uint64_t extra, names, disk = f->r->size, vm, l1_at, l1_size;
        struct reading_layer *l = &f->r->layers[f->r->n_layers];

        at = (at + 7) / 8 * 8;
        l1_at = get(f, at, 8);
        l1_size = get(f, at + 8, 4);
        names = get(f, at + 12, 2) + get(f, at + 14, 2);
        vm = get(f, at + 32, 4);
        extra = get(f, at + 36, 4);
        if (extra > 1024 || at + 40 + extra + names > f->size)
            return wrong(f, "a snapshot outside the file", at);
        if (extra >= 8)
            vm = get(f, at + 40, 8);
        if (extra >= 16)
            disk = get(f, at + 48, 8);
        l->label = reading_print(f->bytes + at + 12, 24) +
                   reading_print(f->bytes + at + 40 + extra, names);
        l->date = get(f, at + 16, 4);
        snprintf(l->name, sizeof(l->name), "%.*s", (int)get(f, at + 14, 2),
                 (const char *)f->bytes + at + 40 + extra + get(f, at + 12, 2));
        if (extra > 16)
            l->label += reading_print(f->bytes + at + 56, extra - 16);
        at += 40 + extra + names;
        if (!read_layer(f, l1_at, l1_size, disk, vm))
            return false;
        refer(f, l1_at, 8 * l1_size, FIXED, "a snapshot's L1 table");
    }
    refer(f, f->snapshots_at, f->n_snapshots ? at - f->snapshots_at : 0, FIXED,
          "the snapshot table");
    return true;
}

/* Its table and its data belong to it alone. */
static void refer_bitmap(struct file *f, uint64_t table, uint64_t entries, struct reading_bitmap *b)
{
    bool used = b->flags & 1;

    refer(f, table, 8 * entries, FIXED, "a bitmap's table outside the file");
    if (!used && entries != (b->n_bits + 8 * f->cs - 1) / (8 * f->cs))
        corrupt(f, "a bitmap's table of another length than the disk has", table);
    for (uint64_t i = 0; i < entries && table + 8 * i + 8 <= f->size; i++) {
        uint64_t e = get(f, table + 8 * i, 8), data = e & OFFSET;

        if (data && data + f->cs <= f->size)
            refer(f, data, f->cs, FIXED, "a bitmap's data");
        else if (data)
            corrupt(f, "a bitmap's data outside the file", data);
        if (!data || data + f->cs <= f->size)
            reading_bitmap_fill(b, i * 8 * f->cs, 8 * f->cs, data ? f->bytes + data : NULL, e & 1);
    }
}

static void refer_bitmaps(struct file *f)
{
    uint64_t at = f->bitmaps_at, end = at + f->bitmaps_len, len;

    if (!f->n_bitmaps)
        return;
    refer(f, at, f->bitmaps_len, FIXED, "the bitmap directory");
    for (uint64_t i = 0; end <= f->size && i < f->n_bitmaps; i++) {
        struct reading_bitmap *b =
            reading_bitmap_decode(&f->r->bitmaps, f->bytes + at, end - at, f->r->size, &len);

        if (!b) {
            corrupt(f, "a bitmap outside its directory, or one too many", at);
            return;
        }
        refer_bitmap(f, get(f, at, 8), get(f, at + 8, 4), b);
        at += len;
    }
}

static void refer_layers(struct file *f)
{
    uint64_t at = f->snapshots_at;

    refer_layer(f, f->l1_at, f->l1_size);
    for (uint64_t i = 0; i < f->n_snapshots; i++) {
        at = (at + 7) / 8 * 8;
        refer_layer(f, get(f, at, 8), get(f, at + 8, 4));
        at += 40 + get(f, at + 36, 4) + get(f, at + 12, 2) + get(f, at + 14, 2);
    }
}

/* Whether the data file shows the guest's disk to whoever does not look at the image. */
static bool shows_disk(const struct file *f)
{
    const struct reading_layer *l = &f->r->layers[0];
    bool shows = f->data && f->data_size >= l->disk_size;

    for (uint64_t at = 0; shows && at < l->disk_size; at += SECTOR)
        shows = data_sector(f, at, l->disk_size) == l->disk[at / SECTOR];
    return shows;
}

void reading_take(const uint8_t *bytes, uint64_t size, const char *backing, struct reading *out)
{
    reading_take_image(&(struct image_bytes){.bytes = (uint8_t *)(uintptr_t)bytes, .size = size},
                       backing, out);
}

void reading_take_image(const struct image_bytes *image, const char *backing, struct reading *out)
{
    struct file f = {.bytes = image->bytes,
                     .size = image->size,
                     .data = image->data,
                     .data_size = image->data ? image->data_size : 0,
                     .r = out};

    memset(out, 0, sizeof(*out));
    if (!read_header(&f))
        return;
    f.backing = backing ? backing : out->backing_file;
    f.n_clusters = out->n_clusters = (f.size + f.cs - 1) / f.cs;
    out->free = must(calloc(f.n_clusters + 1, 1));
    f.counts = must(calloc(f.n_clusters + 1, sizeof(*f.counts)));
    f.kinds = must(calloc(f.n_clusters + 1, 1));
    refer_fixed(&f);
    if (read_layer(&f, f.l1_at, f.l1_size, out->size, 0) && read_snapshots(&f)) {
        out->raw_shows = out->data_raw && shows_disk(&f);
        find_lacking(&f);
        refer_layers(&f);
        refer_bitmaps(&f);
        compare_counts(&f);
    }
    free(f.counts);
    free(f.kinds);
}

void reading_free(struct reading *r)
{
    for (unsigned i = 0; i < r->n_layers; i++) {
        free(r->layers[i].disk);
        free(r->layers[i].vm);
    }
    r->n_layers = 0;
    free(r->free);
    reading_bitmaps_free(&r->bitmaps);
}
