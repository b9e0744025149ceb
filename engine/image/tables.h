/* Walks references: gathers all L1 tables of an image (the active one and each snapshot's) into one
 * list of distinct L2 tables, so that a table that a thousand snapshots share is read once.
 * Counting, checking and amending all use this list. */
#ifndef QB_IMAGE_TABLES_H
#define QB_IMAGE_TABLES_H

#include "image/image.h"
#include "qcow2/l2.h"

/* One L1 table.  Layer 0 is the active one, layer i + 1 that of snapshot i. */
struct qb_layer {
    uint64_t l1_offset;
    uint32_t l1_size;   /* entries */
    uint64_t disk_size; /* bytes of the disk that it maps; VM state follows */
};

/* One L2 table, which any number of L1 entries may name. */
struct qb_l2_table {
    uint64_t offset;   /* in the file, bytes */
    uint32_t refs;     /* L1 entries that name it */
    uint32_t l1_index; /* index of these entries: the same in every L1 table, see `crossed` */
    bool active;       /* the active L1 names it */
    bool crossed;      /* named at two different L1 indices, which no tool does */
};

struct qb_tables {
    struct qb_l2_table *items; /* sorted by offset */
    size_t n, cap;             /* tables; tables that the allocated memory can hold */
};

/* Faults of an L1 entry, reported to a callback: a check lists them, planning refuses. */
enum qb_l1_oddity { QB_L1_RESERVED_BITS, QB_L1_UNALIGNED, QB_L1_OUTSIDE };
typedef void qb_l1_odd_fn(void *arg, enum qb_l1_oddity what, unsigned layer, uint64_t at,
                          uint64_t entry);

/* The layer's L1 table; needs the snapshot table in memory. */
struct qb_layer qb_image_layer(const struct qb_image *img, unsigned layer);
static inline unsigned qb_image_layers(const struct qb_image *img)
{
    return 1 + img->header.nb_snapshots;
}

/* Reads all L1 tables (holes are not read) and gathers their L2 tables in at most `memory_limit`
 * bytes.  Faulty entries are reported to `odd` and left out; without `odd` the first that leads to
 * no table is QB_E_CORRUPT.  So are L1 tables that overlap each other, at once: no walk over them
 * would end in bounded time. */
int qb_tables_gather(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                     qb_l1_odd_fn *odd, void *arg, struct qb_tables *out, struct qb_err *err);
void qb_tables_free(struct qb_tables *t);

/* The table at this offset; NULL when no L1 entry names it. */
struct qb_l2_table *qb_tables_find(const struct qb_tables *t, uint64_t offset);

/* Called for one L2 table in its on-disk form, `index` in the list.  Returns 0 to continue. */
typedef int qb_table_fn(void *arg, size_t index, const uint8_t *table, struct qb_err *err);

struct qb_table_scan {
    struct qb_io *io;
    const struct qb_image *img;
    const struct qb_tables *tables; /* in host order */
    /* Tables that lie in a hole of the file are left out, else fn gets zeros: an L1 table of a few
     * megabytes may name millions of them. */
    bool held_only;
    qb_table_fn *fn;
    void *arg;
};

/* Reads the tables in their order, neighbours merged, in a bounded window, and calls fn for each.
 * A table that lies in a hole, or has offset 0, is not read.  What fn returns other than 0 ends the
 * scan and is returned. */
int qb_tables_scan(const struct qb_table_scan *s, struct qb_err *err);

#endif
