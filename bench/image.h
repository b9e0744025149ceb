/* Minimal qcow2 images, made without QEMU: where everything lies follows from the numbers alone,
 * so that an image of any size is written in one pass and in little memory.
 *
 *     header | refcount table | refcount blocks | L1 | snapshots' L1s | snapshot table | L2 | data
 *
 * Data clusters are holes; their bytes do not matter here. */
#ifndef QB_BENCH_IMAGE_H
#define QB_BENCH_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bench_shape {
    uint64_t size;         /* virtual, bytes */
    uint64_t used;         /* guest bytes from the start that have entries; at most size */
    uint64_t cluster_size; /* bytes */
    uint64_t every;        /* every n-th used cluster reads zero; 0: none */
    bool data_between;     /* the other used clusters are data, else unallocated */
    uint64_t snapshots;
    uint64_t scatter;       /* clusters from one L2 table to the next in the file; 0 is 1 */
    unsigned refcount_bits; /* power of two */
    const char *backing;    /* name as it stands in the header, NULL: none */
};

/* All in clusters of the file unless a name says otherwise. */
struct bench_layout {
    struct bench_shape shape;
    unsigned cluster_bits, refcount_order;
    uint64_t l2_entries;                  /* in one table */
    uint64_t l1_entries, l1_clusters;     /* of one L1 */
    uint64_t guest_clusters, zeros, data; /* used ones, and of them */
    uint64_t tables;                      /* L2 tables */
    uint64_t reftable_clusters, blocks;
    uint64_t reftable, first_block, l1, snapshot_l1s, snapshot_table, first_table, first_data, end;
};

/* Refuses what no image can be: sizes, too many snapshots for the width, tables beyond the limits.
 */
int bench_layout_make(const struct bench_shape *shape, struct bench_layout *layout,
                      struct qb_err *err);

/* Refcount blocks and table, in clusters, that a file of `clusters` plus themselves needs. */
void bench_refcounts_for(uint64_t cluster_size, unsigned order, uint64_t clusters, uint64_t *blocks,
                         uint64_t *table);

/* Where L2 table number i lies. */
uint64_t bench_layout_table(const struct bench_layout *layout, uint64_t i);

/* Bytes of disk that a new image occupies, about. */
uint64_t bench_layout_disk(const struct bench_layout *layout);

/* Makes the file, which must not exist. */
int bench_image_write(const struct bench_layout *layout, const char *path, struct qb_err *err);

/* Makes the first 512 bytes again what they were. */
int bench_image_reset_header(const struct bench_layout *layout, const char *path,
                             struct qb_err *err);

#endif
