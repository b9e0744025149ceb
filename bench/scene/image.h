/* Makes minimal qcow2 images without QEMU: all offsets follow from the parameters, so an image of
 * any size is written in one pass and in little memory.
 *
 *     header | refcount table | refcount blocks | L1 | snapshots' L1s | snapshot table | bitmaps |
 * L2 | data
 *
 * Data clusters are holes; their bytes do not matter here.  With stretches they hold bytes, and so
 * do the free clusters between them; the first stretch is free and the last one data.  With an
 * external data file, IMAGE.data, they are holes of that one, at their guest offset.
 *
 * The same shape also says what a raw disk holds (image_data.c), of which nothing else is known. */
#ifndef QB_SCENE_IMAGE_H
#define QB_SCENE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bench_shape {
    uint64_t size;         /* virtual, bytes */
    uint64_t used;         /* guest bytes from the start that have entries; at most size */
    uint64_t cluster_size; /* bytes */
    uint64_t every;        /* every n-th used cluster reads zero; 0: none */
    bool data_between;     /* the other used clusters are data, else unallocated */
    uint64_t stretch;      /* used clusters; every second stretch is free, and takes space */
    bool holes;            /* ... or none, as data does not either */
    uint64_t snapshots;
    uint64_t bitmaps;       /* persistent ones, every second granule set */
    uint64_t granularity;   /* bytes; of them all */
    uint64_t scatter;       /* clusters from one L2 table to the next in the file; 0 is 1 */
    unsigned refcount_bits; /* power of two */
    bool data_file;         /* an external one */
    uint64_t junk;          /* bytes past the disk's end in it that are not zero */
    const char *backing;    /* name as it stands in the header, NULL: none */
    uint64_t raw_step;      /* clusters; not 0: no image, but a raw disk in which the first page of
                               each so many used clusters holds something */
};

/* All in clusters of the file unless a name says otherwise. */
struct bench_layout {
    struct bench_shape shape;
    unsigned cluster_bits, refcount_order;
    uint64_t l2_entries;                  /* in one table */
    uint64_t l1_entries, l1_clusters;     /* of one L1 */
    uint64_t guest_clusters, zeros, data; /* used ones, and of them */
    uint64_t freed;                       /* of them as well: they have a place and no entry */
    uint64_t tables;                      /* L2 tables */
    uint64_t bitmap_bytes;                /* of one bitmap's bits */
    uint64_t bitmap_data, bitmap_tables;  /* clusters of one bitmap */
    uint64_t reftable_clusters, blocks;
    uint64_t reftable, first_block, l1, snapshot_l1s, snapshot_table, directory, first_bitmap;
    uint64_t first_table, first_data, end;
};

/* Refuses impossible images: invalid sizes, too many snapshots for the width, tables beyond the
 * limits. */
int bench_layout_make(const struct bench_shape *shape, struct bench_layout *layout,
                      struct qb_err *err);

/* Refcount blocks and table, in clusters, that a file of `clusters` plus themselves needs. */
void bench_refcounts_for(uint64_t cluster_size, unsigned order, uint64_t clusters, uint64_t *blocks,
                         uint64_t *table);

/* Offset of L2 table number i. */
uint64_t bench_layout_table(const struct bench_layout *layout, uint64_t i);

/* Whether used cluster number `guest` of the disk is in a stretch that is free. */
bool bench_layout_is_free(const struct bench_layout *layout, uint64_t guest);

/* Bytes of disk that a new image occupies, about. */
uint64_t bench_layout_disk(const struct bench_layout *layout);

#define BENCH_DATA_SUFFIX ".data" /* of the image's path: its external data file */

/* Makes the file, which must not exist, and its external data file, if any, anew. */
int bench_image_write(const struct bench_layout *layout, const char *path, struct qb_err *err);

/* Restores the first 512 bytes. */
int bench_image_reset_header(const struct bench_layout *layout, const char *path,
                             struct qb_err *err);

#endif
