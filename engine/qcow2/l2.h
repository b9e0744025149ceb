/* L1 and L2 entries: the only place that knows their bits ("Cluster mapping"). */
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
};

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

/* Reads word `word` (0 but for extended L2) of entry `i` of a table as it stands on disk. */
static inline uint64_t qb_l2_get(const struct qb_geom *g, const void *table, uint64_t i,
                                 unsigned word)
{
    be64 v;

    __builtin_memcpy(&v, (const uint8_t *)table + i * g->l2_entry_size + word * 8, 8);
    return be64_get(v);
}

enum { QB_L2_BLOCK = 64 }; /* entries; no table has fewer */

/* Where the entries [i, i + QB_L2_BLOCK) are all unallocated or plain zero clusters, as in most of
 * most tables: how many are zero clusters.  Else, and in extended L2 tables, -1.  The loop looks at
 * the words as they stand on disk, so that the compiler can make vector code of it. */
static inline int qb_l2_plain_zeros(const struct qb_geom *g, const void *table, uint64_t i)
{
    const uint8_t *at = (const uint8_t *)table + i * 8;
    const be64 flag_on_disk = be64_of(QB_ENTRY_ZERO);
    uint64_t flag, word, other = 0, zeros = 0;

    if (g->l2_entry_size != 8)
        return -1;
    __builtin_memcpy(&flag, &flag_on_disk, 8);
    for (unsigned k = 0; k < QB_L2_BLOCK; k++) {
        __builtin_memcpy(&word, at + 8 * k, 8);
        other |= word & ~flag;
        zeros += word >> __builtin_ctzll(flag);
    }
    return other ? -1 : (int)zeros;
}

static inline void qb_l2_put(const struct qb_geom *g, void *table, uint64_t i, uint64_t entry)
{
    be64 v = be64_of(entry);

    __builtin_memcpy((uint8_t *)table + i * g->l2_entry_size, &v, 8);
}

#endif
