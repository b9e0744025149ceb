/* Decodes and encodes L1 and L2 entries; no other file knows their bits ("Cluster mapping"). */
#ifndef QB_QCOW2_L2_H
#define QB_QCOW2_L2_H

#include "qcow2/disk.h"
#include "qcow2/geom.h"

enum qb_kind {
    QB_UNALLOCATED,    /* reads the backing file, or zero */
    QB_ZERO_PLAIN,     /* reads zero, no host cluster */
    QB_ZERO_ALLOCATED, /* reads zero, keeps a preallocated host cluster */
    QB_DATA,
    QB_COMPRESSED,
    QB_PARTIAL, /* extended L2: subclusters of several sorts, with or without a host cluster */
    QB_IDLE,    /* extended L2: a host cluster, of which no subcluster is used */
};

/* The second word of an extended entry: a bit for each subcluster that is allocated, and above
 * them one for each that reads zero. */
#define QB_SUBCLUSTERS   32u
#define QB_ALL_ALLOCATED UINT64_C(0x00000000ffffffff)
#define QB_ALL_ZERO      UINT64_C(0xffffffff00000000)

/* What one subcluster is; not both bits are set. */
enum qb_sub { QB_SUB_UNALLOCATED, QB_SUB_ALLOCATED, QB_SUB_ZERO };

static inline enum qb_sub qb_l2_subcluster(uint64_t bitmap, unsigned i)
{
    return bitmap >> i & 1                      ? QB_SUB_ALLOCATED
           : bitmap >> (QB_SUBCLUSTERS + i) & 1 ? QB_SUB_ZERO
                                                : QB_SUB_UNALLOCATED;
}

/* Classifies the first word of an L2 entry.  With an external data file, offset 0 is a valid data
 * offset and is in use if and only if COPIED is set. */
static inline enum qb_kind qb_l2_kind(const struct qb_geom *g, uint64_t entry)
{
    if (entry & QB_ENTRY_COMPRESSED)
        return QB_COMPRESSED;
    if ((entry & QB_ENTRY_ZERO) && g->l2_entry_size == 8)
        return entry & QB_ENTRY_OFFSET ? QB_ZERO_ALLOCATED : QB_ZERO_PLAIN;
    if (entry & QB_ENTRY_OFFSET)
        return QB_DATA;
    return g->external_data && (entry & QB_ENTRY_COPIED) ? QB_DATA : QB_UNALLOCATED;
}

/* A compressed entry: the host bytes that its 512-byte sectors cover. */
struct qb_compressed {
    uint64_t offset;    /* first byte of the data */
    uint64_t available; /* bytes from there to the end of its last sector */
};

static inline struct qb_compressed qb_l2_compressed(const struct qb_geom *g, uint64_t entry)
{
    unsigned x = 70 - g->cluster_bits;
    uint64_t offset = entry & ((1ull << x) - 1);
    uint64_t sectors = (entry >> x & ((1ull << (g->cluster_bits - 8)) - 1)) + 1;

    return (struct qb_compressed){offset, sectors * QB_SECTOR - (offset & (QB_SECTOR - 1))};
}

/* The entry for `len` bytes of compressed data at `offset`. */
static inline uint64_t qb_l2_compressed_entry(const struct qb_geom *g, uint64_t offset,
                                              uint64_t len)
{
    uint64_t more = (offset + len - 1) / QB_SECTOR - offset / QB_SECTOR;

    return QB_ENTRY_COMPRESSED | more << (70 - g->cluster_bits) | offset;
}

/* Reads word `word` (0 except with extended L2) of entry `i` of a table in its on-disk form. */
static inline uint64_t qb_l2_get(const struct qb_geom *g, const void *table, uint64_t i,
                                 unsigned word)
{
    be64 v;

    __builtin_memcpy(&v, (const uint8_t *)table + i * g->l2_entry_size + word * 8, 8);
    return be64_get(v);
}

/* The subclusters of entry `i`, as an extended entry would have them; of a compressed cluster, and
 * of one that is unallocated, none. */
static inline uint64_t qb_l2_bitmap(const struct qb_geom *g, const void *table, uint64_t i)
{
    enum qb_kind kind;

    if (g->l2_entry_size == 16)
        return qb_l2_get(g, table, i, 1);
    kind = qb_l2_kind(g, qb_l2_get(g, table, i, 0));
    return kind == QB_DATA                                      ? QB_ALL_ALLOCATED
           : kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED ? QB_ALL_ZERO
                                                                : 0;
}

/* Classifies both words of an entry. */
static inline enum qb_kind qb_l2_kind_of(const struct qb_geom *g, uint64_t entry, uint64_t bitmap)
{
    enum qb_kind first = qb_l2_kind(g, entry);

    if (g->l2_entry_size == 8 || first == QB_COMPRESSED)
        return first;
    if (bitmap == 0)
        return first == QB_DATA ? QB_IDLE : QB_UNALLOCATED;
    if (bitmap == QB_ALL_ZERO)
        return first == QB_DATA ? QB_ZERO_ALLOCATED : QB_ZERO_PLAIN;
    return bitmap == QB_ALL_ALLOCATED && first == QB_DATA ? QB_DATA : QB_PARTIAL;
}

static inline enum qb_kind qb_l2_kind_at(const struct qb_geom *g, const void *table, uint64_t i)
{
    uint64_t entry = qb_l2_get(g, table, i, 0);

    return g->l2_entry_size == 8 ? qb_l2_kind(g, entry)
                                 : qb_l2_kind_of(g, entry, qb_l2_get(g, table, i, 1));
}

/* Whether entries of this kind may name a host cluster that is not compressed, and then have a
 * COPIED flag that means something. */
static inline bool qb_l2_has_host(enum qb_kind kind)
{
    return kind == QB_DATA || kind == QB_ZERO_ALLOCATED || kind == QB_PARTIAL || kind == QB_IDLE;
}

static inline void qb_l2_put(const struct qb_geom *g, void *table, uint64_t i, uint64_t entry)
{
    be64 v = be64_of(entry);

    __builtin_memcpy((uint8_t *)table + i * g->l2_entry_size, &v, 8);
}

/* Writes an entry of this kind in the geometry's format: the first word as a standard entry that is
 * not a zero cluster has it, and the subclusters, which a standard entry can only have all alike.
 */
static inline void qb_l2_put_as(const struct qb_geom *g, void *table, uint64_t i, uint64_t entry,
                                uint64_t bitmap)
{
    be64 v = be64_of(bitmap);

    if (g->l2_entry_size == 8)
        entry |= bitmap == QB_ALL_ZERO ? QB_ENTRY_ZERO : 0;
    else
        __builtin_memcpy((uint8_t *)table + i * 16 + 8, &v, 8);
    qb_l2_put(g, table, i, entry);
}

#endif
