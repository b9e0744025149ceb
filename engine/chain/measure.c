#include "chain/measure.h"

#include <string.h>

/* QEMU's defaults. */
#define CLUSTER       UINT64_C(65536)
#define BLOCK_ENTRIES (CLUSTER / 2) /* refcounts of 16 bits */

void qb_measure_run(struct qb_measure *m, const struct qb_disk_run *run)
{
    uint64_t first = QB_MAX(run->start / CLUSTER * CLUSTER, m->end);
    uint64_t end = qb_round_up(run->start + run->length, CLUSTER);

    if (run->zero || !run->data || end <= first)
        return;
    m->data += end - first;
    m->end = end;
}

/* Refcount blocks and their table, for a file of so many other clusters, bytes. */
static uint64_t refcounts_of(uint64_t clusters)
{
    uint64_t blocks = 0, table = 0, n = 0, last;

    do {
        last = n;
        blocks = qb_div_up(clusters + table + blocks, BLOCK_ENTRIES);
        table = qb_div_up(blocks, CLUSTER / 8);
        n = clusters + blocks + table;
    } while (n != last);
    return (blocks + table) * CLUSTER;
}

/* A disk of so many bytes, in whole clusters, and all that describes it. */
static uint64_t whole_file(uint64_t disk)
{
    uint64_t l2 = qb_round_up(disk / CLUSTER * 8, CLUSTER);
    uint64_t l1 = qb_round_up(l2 / CLUSTER * 8, CLUSTER);
    uint64_t tables = CLUSTER + l2 + l1; /* and the header */

    return tables + disk + refcounts_of((tables + disk) / CLUSTER);
}

static uint64_t bitmaps_of(const struct qb_bitmaps *bitmaps, uint64_t size)
{
    uint64_t bytes = 0, directory = 0;

    qb_vec_each (b, &bitmaps->list) {
        uint64_t bits = qb_div_up(size, UINT64_C(1) << b->granularity_bits);
        uint64_t clusters = qb_div_up(qb_div_up(bits, 8), CLUSTER);

        bytes += clusters * CLUSTER + qb_round_up(clusters * 8, CLUSTER);
        directory += qb_round_up(sizeof(struct qb_disk_bitmap) + strlen(b->name), 8);
    }
    return bytes + qb_round_up(directory, CLUSTER);
}

struct qb_measured qb_measure_end(const struct qb_measure *m, const struct qb_image *img,
                                  const struct qb_bitmaps *bitmaps, uint64_t size)
{
    uint64_t disk = qb_round_up(size, CLUSTER), whole = whole_file(disk);

    return (struct qb_measured){.required = whole - disk + m->data,
                                .fully_allocated = whole,
                                .has_bitmaps = img->header.version > 2,
                                .bitmaps = bitmaps_of(bitmaps, size)};
}
