#include "scene/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "scene/image_parts.h"
#include "qcow2/disk.h"
#include "qcow2/refcount.h"

int bench_put(int fd, const void *bytes, size_t n, uint64_t at, struct qb_err *err)
{
    while (n) {
        ssize_t done = pwrite(fd, bytes, n, (off_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return qb_fail_sys(err, done < 0 ? errno : ENOSPC, at, "cannot write");
        bytes = (const char *)bytes + done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

/* ---- header ---------------------------------------------------------------------------------- */

static size_t put_extension(uint8_t *at, uint32_t type, const void *bytes, size_t n)
{
    struct qb_disk_ext ext = {be32_of(type), be32_of((uint32_t)n)};

    memcpy(at, &ext, sizeof(ext));
    memcpy(at + sizeof(ext), bytes, n);
    return sizeof(ext) + qb_round_up(n, 8);
}

static size_t put_bitmaps_extension(const struct bench_layout *l, uint8_t *at)
{
    struct qb_disk_bitmaps_ext ext = {
        .nb_bitmaps = be32_of((uint32_t)l->shape.bitmaps),
        .directory_size = be64_of(l->shape.bitmaps * BENCH_BITMAP_ENTRY),
        .directory_offset = be64_of(l->directory * l->shape.cluster_size),
    };

    return put_extension(at, QB_EXT_BITMAPS, &ext, sizeof(ext));
}

/* Relative to the image's directory. */
static size_t put_data_file_name(const char *path, uint8_t *at)
{
    const char *slash = strrchr(path, '/');
    char name[64];
    size_t n =
        (size_t)snprintf(name, sizeof(name), "%.50s" BENCH_DATA_SUFFIX, slash ? slash + 1 : path);

    return put_extension(at, QB_EXT_DATA_FILE, name, n);
}

static void make_sector(const struct bench_layout *l, const char *path, uint8_t sector[QB_SECTOR])
{
    uint64_t cs = l->shape.cluster_size;
    const char *backing = l->shape.backing;
    struct qb_disk_header h = {
        .magic = be32_of(QB_MAGIC),
        .version = be32_of(3),
        .cluster_bits = be32_of(l->cluster_bits),
        .size = be64_of(l->shape.size),
        .l1_size = be32_of((uint32_t)l->l1_entries),
        .l1_table_offset = be64_of(l->l1_clusters ? l->l1 * cs : 0),
        .refcount_table_offset = be64_of(l->reftable * cs),
        .refcount_table_clusters = be32_of((uint32_t)l->reftable_clusters),
        .nb_snapshots = be32_of((uint32_t)l->shape.snapshots),
        .snapshots_offset = be64_of(l->shape.snapshots ? l->snapshot_table * cs : 0),
        .refcount_order = be32_of(l->refcount_order),
        .header_length = be32_of(QB_V3_HEADER_LENGTH),
    };
    size_t at = sizeof(h);

    memset(sector, 0, QB_SECTOR);
    if (backing)
        at += put_extension(sector + at, QB_EXT_BACKING_FORMAT, "qcow2", 5);
    if (l->shape.data_file) {
        h.incompatible = be64_of(QB_INCOMPAT_DATA_FILE);
        at += put_data_file_name(path, sector + at);
    }
    if (l->shape.bitmaps) {
        h.autoclear = be64_of(QB_AUTOCLEAR_BITMAPS);
        at += put_bitmaps_extension(l, sector + at);
    }
    if (backing) {
        at += sizeof(struct qb_disk_ext); /* the end marker is all zeros */
        h.backing_file_offset = be64_of(at);
        h.backing_file_size = be32_of((uint32_t)strlen(backing));
        memcpy(sector + at, backing, strlen(backing));
    }
    memcpy(sector, &h, sizeof(h));
}

/* ---- refcounts ------------------------------------------------------------------------------- */

static uint64_t refcount_of(const struct bench_layout *l, uint64_t cluster)
{
    if (cluster < l->first_table)
        return 1;
    if (cluster >= l->end)
        return 0;
    if (cluster < l->first_data && (cluster - l->first_table) % l->shape.scatter)
        return 0;
    if (cluster >= l->first_data && bench_layout_is_free(l, cluster - l->first_data))
        return 0;
    return l->shape.snapshots + 1;
}

static int put_refcounts(const struct bench_layout *l, int fd, uint8_t *buf, struct qb_err *err)
{
    uint64_t cs = l->shape.cluster_size, entries = cs * 8 >> l->refcount_order;

    for (uint64_t b = 0; b < l->blocks; b++) {
        uint64_t n = QB_MIN(entries, l->end - b * entries);
        be64 entry = be64_of((l->first_block + b) * cs);

        memset(buf, 0, cs);
        for (uint64_t i = 0; i < n; i++)
            qb_refcount_put(buf, i, l->refcount_order, refcount_of(l, b * entries + i));
        if (bench_put(fd, buf, QB_MIN(cs, ((n << l->refcount_order) / 8 + 4096) & ~511ull),
                      (l->first_block + b) * cs, err) < 0 || /* what follows is a hole */
            bench_put(fd, &entry, sizeof(entry), l->reftable * cs + b * sizeof(entry), err) < 0)
            return -1;
    }
    return 0;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static uint64_t copied(const struct bench_layout *l)
{
    return l->shape.snapshots ? 0 : QB_ENTRY_COPIED;
}

static uint64_t l2_entry(const struct bench_layout *l, uint64_t guest)
{
    uint64_t every = l->shape.every, index;

    if (guest >= l->guest_clusters)
        return 0;
    if (every && guest % every == 0)
        return QB_ENTRY_ZERO;
    if (!l->shape.data_between || bench_layout_is_free(l, guest))
        return 0;
    if (l->shape.data_file)
        return guest * l->shape.cluster_size | copied(l);
    index = guest - (every ? qb_div_up(guest, every) : 0);
    return (l->first_data + index) * l->shape.cluster_size | copied(l);
}

static int put_tables(const struct bench_layout *l, int fd, uint8_t *buf, struct qb_err *err)
{
    uint64_t cs = l->shape.cluster_size;

    for (uint64_t t = 0; t < l->tables; t++) {
        for (uint64_t i = 0; i < l->l2_entries; i++) {
            be64 entry = be64_of(l2_entry(l, t * l->l2_entries + i));

            memcpy(buf + i * sizeof(entry), &entry, sizeof(entry));
        }
        if (bench_put(fd, buf, cs, bench_layout_table(l, t) * cs, err) < 0)
            return -1;
    }
    return 0;
}

/* The disk's L1 and those of the snapshots differ in the flag only, which snapshots switch off. */
static int put_l1s(const struct bench_layout *l, int fd, struct qb_err *err)
{
    uint64_t cs = l->shape.cluster_size;
    QB_AUTO(qb_buf) be64 *l1 = calloc(l->tables + 1, sizeof(*l1));

    if (!l1)
        return qb_fail_memory(err);
    for (uint64_t t = 0; t < l->tables; t++)
        l1[t] = be64_of(bench_layout_table(l, t) * cs | copied(l));
    for (uint64_t i = 0; i <= l->shape.snapshots; i++) {
        if (bench_put(fd, l1, l->tables * sizeof(*l1), (l->l1 + i * l->l1_clusters) * cs, err) < 0)
            return -1;
    }
    return 0;
}

static size_t make_snapshot(const struct bench_layout *l, uint64_t i, uint8_t *at)
{
    char id[24];
    size_t n = (size_t)snprintf(id, sizeof(id), "%lu", (unsigned long)i + 1);
    struct qb_disk_snapshot s = {
        .l1_table_offset = be64_of((l->snapshot_l1s + i * l->l1_clusters) * l->shape.cluster_size),
        .l1_size = be32_of((uint32_t)l->l1_entries),
        .id_size = be16_of((uint16_t)n),
        .name_size = be16_of((uint16_t)(n + 1)),
        .extra_data_size = be32_of(sizeof(struct qb_disk_snapshot_extra)),
    };
    struct qb_disk_snapshot_extra extra = {be64_of(0), be64_of(l->shape.size)};
    size_t at_text = sizeof(s) + sizeof(extra);

    memset(at, 0, at_text + 24);
    memcpy(at, &s, sizeof(s));
    memcpy(at + sizeof(s), &extra, sizeof(extra));
    memcpy(at + at_text, id, n);
    at[at_text + n] = 's';
    memcpy(at + at_text + n + 1, id, n);
    return qb_round_up(at_text + 2 * n + 1, 8);
}

static int put_snapshots(const struct bench_layout *l, int fd, struct qb_err *err)
{
    uint64_t at = l->snapshot_table * l->shape.cluster_size;
    uint8_t entry[128];

    for (uint64_t i = 0; i < l->shape.snapshots; i++) {
        size_t n = make_snapshot(l, i, entry);

        if (bench_put(fd, entry, n, at, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int put_image(const struct bench_layout *l, const char *path, int fd, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *buf = malloc(l->shape.cluster_size);
    uint8_t sector[QB_SECTOR];

    if (!buf)
        return qb_fail_memory(err);
    make_sector(l, path, sector);
    if (l->shape.data_file && bench_write_data_file(l, path, buf, err) < 0)
        return -1;
    if (ftruncate(fd, (off_t)(l->end * l->shape.cluster_size)) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot set the file's size");
    if (bench_put(fd, sector, sizeof(sector), 0, err) < 0 || put_refcounts(l, fd, buf, err) < 0 ||
        put_l1s(l, fd, err) < 0 || put_snapshots(l, fd, err) < 0 ||
        bench_put_bitmaps(l, fd, buf, err) < 0)
        return -1;
    if (l->shape.stretch && !l->shape.holes &&
        bench_put_junk(l, fd, l->first_data * l->shape.cluster_size, l->end * l->shape.cluster_size,
                       buf, err) < 0)
        return -1;
    return put_tables(l, fd, buf, err);
}

int bench_image_write(const struct bench_layout *l, const char *path, struct qb_err *err)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    int r;

    if (fd < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot create", path);
    r = l->shape.raw_step ? bench_put_raw(l, fd, err) : put_image(l, path, fd, err);
    if (close(fd) < 0 && r == 0)
        r = qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot write", path);
    return r;
}

int bench_image_reset_header(const struct bench_layout *l, const char *path, struct qb_err *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), r;
    uint8_t sector[QB_SECTOR];

    if (fd < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot open", path);
    make_sector(l, path, sector);
    r = bench_put(fd, sector, sizeof(sector), 0, err);
    close(fd);
    return r;
}
