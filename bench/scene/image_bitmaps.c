/* Writes the persistent bitmaps of an image: the directory, then the table and the bits of each. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "scene/image_parts.h"
#include "qcow2/disk.h"

enum { EVERY_SECOND = 0x55 };

static uint64_t table_at(const struct bench_layout *l, uint64_t i)
{
    return (l->first_bitmap + i * (l->bitmap_tables + l->bitmap_data)) * l->shape.cluster_size;
}

static int put_entry(const struct bench_layout *l, int fd, uint64_t i, struct qb_err *err)
{
    uint8_t entry[BENCH_BITMAP_ENTRY] = {0};
    char name[BENCH_BITMAP_ENTRY - sizeof(struct qb_disk_bitmap) + 1];
    size_t n = (size_t)snprintf(name, sizeof(name), "b%u", (unsigned)i + 1);
    struct qb_disk_bitmap b = {
        .table_offset = be64_of(table_at(l, i)),
        .table_size = be32_of((uint32_t)l->bitmap_data),
        .flags = be32_of(QB_BITMAP_AUTO),
        .type = QB_BITMAP_DIRTY_TRACKING,
        .granularity_bits = (uint8_t)__builtin_ctzll(l->shape.granularity),
        .name_size = be16_of((uint16_t)n),
    };

    memcpy(entry, &b, sizeof(b));
    memcpy(entry + sizeof(b), name, QB_MIN(n, sizeof(entry) - sizeof(b)));
    return bench_put(fd, entry, sizeof(entry),
                     l->directory * l->shape.cluster_size + i * sizeof(entry), err);
}

static int put_table(const struct bench_layout *l, int fd, uint64_t i, struct qb_err *err)
{
    uint64_t at = table_at(l, i), cs = l->shape.cluster_size;

    for (uint64_t c = 0; c < l->bitmap_data; c++) {
        be64 entry = be64_of(at + (l->bitmap_tables + c) * cs);

        if (bench_put(fd, &entry, sizeof(entry), at + c * sizeof(entry), err) < 0)
            return -1;
    }
    return 0;
}

/* The bits past the disk's end are clear, as in those that QEMU writes. */
static int put_bits(const struct bench_layout *l, int fd, uint64_t i, uint8_t *buf,
                    struct qb_err *err)
{
    uint64_t cs = l->shape.cluster_size, at = table_at(l, i) + l->bitmap_tables * cs;
    uint64_t bits = qb_div_up(l->shape.size, l->shape.granularity);

    memset(buf, EVERY_SECOND, cs);
    for (uint64_t done = 0; done < l->bitmap_bytes; done += cs) {
        uint64_t n = QB_MIN(cs, l->bitmap_bytes - done);

        if (done + n == l->bitmap_bytes && bits % 8)
            buf[n - 1] &= (uint8_t)((1u << bits % 8) - 1);
        if (bench_put(fd, buf, n, at + done, err) < 0)
            return -1;
    }
    return 0;
}

int bench_put_bitmaps(const struct bench_layout *l, int fd, uint8_t *buf, struct qb_err *err)
{
    for (uint64_t i = 0; i < l->shape.bitmaps; i++) {
        if (put_entry(l, fd, i, err) < 0 || put_table(l, fd, i, err) < 0 ||
            put_bits(l, fd, i, buf, err) < 0)
            return -1;
    }
    return 0;
}
