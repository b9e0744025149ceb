/* Takes the census: counts every reference in the image and compares the counts with the refcounts
 * and flags on disk.  Reads only.  The check reports its findings, and planning relies on it: an
 * image that its own tables contradict is never amended. */
#ifndef QB_CHECK_CENSUS_H
#define QB_CHECK_CENSUS_H

#include "check/counts.h"
#include "check/defects.h"
#include "image/tables.h"

/* The entries of one L2 table by kind; in the order of the tables. */
struct qb_table_note {
    uint32_t data; /* entries that are none of the others: extended ones may be so in part */
    uint32_t zero_plain, zero_allocated, compressed;
};

/* How the counts in one refcount block differ from the references. */
enum qb_block_differs {
    QB_BLOCK_LEAKS = 1, /* some are too high, of clusters in the file */
    QB_BLOCK_WRONG = 2, /* some are too low, or count clusters past the file's end */
};

/* The first entry that was met of a sort. */
struct qb_census_place {
    uint64_t at;    /* of the entry: byte of the file */
    uint64_t guest; /* first guest byte that it maps */
    bool active;    /* the active layer has it; else only snapshots */
};

/* Bitmaps that are not counted, for they are damaged and will go: what only they refer to is then a
 * leak. */
struct qb_bitmaps_skipped {
    const uint8_t *which; /* one an entry of the directory; not owned */
    size_t n;
    bool all; /* the directory, too */
};

struct qb_census {
    const struct qb_image *img;
    struct qb_io *io;                       /* while the census is taken */
    const struct qb_bitmaps_skipped *skips; /* while it is taken; NULL: none */
    uint64_t blocks_end; /* a refcount block that ends past it is none: bytes; the file's length */
    struct qb_tables tables;
    struct qb_table_note *notes; /* one a table */
    struct qb_counts counts;     /* what the refcounts should be */
    uint64_t *reftable;          /* refcount block offsets as on disk */
    size_t reftable_n;
    uint8_t *block_differs;   /* one a refcount block: bits of enum qb_block_differs */
    struct qb_counts surplus; /* by how much refcounts are too high: see qb_census_take_all */
    struct qb_clusters clusters;
    uint64_t n_bad;         /* invalid entries and tables: never repaired */
    uint64_t n_overlaps;    /* metadata clusters that are referred to as something else too: never
                               repaired */
    uint64_t n_bad_blocks;  /* refcount table entries that lead to no usable block, which is then
                               taken to count nothing */
    uint64_t n_low;         /* clusters whose refcount is too low */
    uint64_t n_copied;      /* clusters whose COPIED flags do not fit the refcount on disk */
    uint64_t n_leaks;       /* clusters whose refcount is too high */
    uint64_t n_odd_bitmaps; /* of n_bad: in the directory or a table of bitmaps */
    uint64_t n_signs;       /* no damage by themselves, and not in any sum */
    uint64_t n_partial;     /* clusters whose subclusters are of several sorts */
    struct qb_census_place first_compressed; /* where clusters.compressed is not 0 */
    struct qb_census_place first_partial;    /* where n_partial is not 0 */
    uint64_t data_end; /* bytes that the external data file must have at least: see data_end.h */
    bool wants_surplus;
    bool copied_wrong;   /* some COPIED flags do not fit the true count and must be rewritten */
    uint64_t end;        /* first byte past the last cluster referred to, or counted in the file */
    struct qb_err first; /* the first damage, described for people */
    struct qb_err first_lasting; /* ... of what new refcounts would not mend: n_bad, n_overlaps */
    qb_finding_fn *found;        /* may be NULL */
    void *found_arg;
};

#define QB_CENSUS_MEMORY (512ull << 20) /* bytes, when the caller names no limit */

/* Takes the census, in at most `memory_limit` bytes (0: QB_CENSUS_MEMORY), everything that it holds
 * included.  The image's snapshot table must be in memory.  Returns 0 also when damage was found
 * (see the numbers); -1 when the census could not be taken.  Free it in either case. */
int qb_census_take(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                   qb_finding_fn *found, void *arg, struct qb_census *out, struct qb_err *err);
void qb_census_free(struct qb_census *c);

/* Like qb_census_take, without the comparison: refcount blocks are not read, and what only counts
 * show (overlaps, leaks, flags) is not found. */
int qb_census_tables(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                     qb_finding_fn *found, void *arg, struct qb_census *out, struct qb_err *err);

/* Like qb_census_take, without some bitmaps, and `surplus` holds every leak: for each cluster of
 * the file the refcount on disk minus the references.  Its memory is counted against the same
 * limit. */
int qb_census_take_all(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                       const struct qb_bitmaps_skipped *skips, struct qb_census *out,
                       struct qb_err *err);

/* The two halves of qb_census_take: counts the references, and compares them with the refcounts on
 * disk.  References that the caller adds to out->counts in between are counted too. */
int qb_census_count(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                    struct qb_census *out, struct qb_err *err);

/* The first half for a file that has become longer: entries of the refcount table that led past its
 * old end, at `blocks_end`, lead to no block. */
int qb_census_count_within(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                           uint64_t blocks_end, struct qb_census *out, struct qb_err *err);
int qb_census_compare(struct qb_io *io, struct qb_census *c, struct qb_err *err);

/* Entry `i` of the table. */
struct qb_census_place qb_census_place_of(const struct qb_geom *g, const struct qb_l2_table *t,
                                          uint64_t i);

/* Makes `place` the first one, unless one before it was met; zeros are none. */
void qb_census_meet(struct qb_census_place *first, struct qb_census_place place);

/* "guest byte N of the active layer". */
enum { QB_CENSUS_PLACE_TEXT = 64 };
void qb_census_place_text(const struct qb_census_place *place, char *text);

/* Whether there is damage that new refcounts, in new blocks and a new table, would not repair. */
static inline bool qb_census_tables_are_broken(const struct qb_census *c)
{
    return c->n_bad || c->n_overlaps;
}

/* ... or that new refcounts in the blocks that there are would not repair. */
static inline bool qb_census_is_broken(const struct qb_census *c)
{
    return qb_census_tables_are_broken(c) || c->n_bad_blocks;
}

static inline uint64_t qb_census_corruptions(const struct qb_census *c)
{
    return c->n_bad + c->n_overlaps + c->n_bad_blocks + c->n_low + c->n_copied;
}

/* ---- for the parts of the census (census.c, references.c, compare.c) ------------------------- */

/* Counts one finding, and passes it on. */
void qb_census_note(struct qb_census *c, enum qb_defect defect, uint64_t offset, const char *fmt,
                    ...) __attribute__((format(printf, 4, 5)));

/* Counts [offset, offset + len) as metadata, once; overlaps are marked.  1 when there is one: the
 * metadata there has been walked, or will be, and must not be followed twice. */
int qb_census_meta(struct qb_census *c, uint64_t offset, uint64_t len, const char *what,
                   struct qb_err *err);

/* Counts the entries of the table from `from` on; its bytes are those on disk. */
int qb_census_count_table(struct qb_census *c, size_t index, const uint8_t *table, uint64_t from,
                          struct qb_err *err);

/* ... and all entries of all tables. */
int qb_census_count_tables(struct qb_io *io, struct qb_census *c, struct qb_err *err);

int qb_census_references(struct qb_io *io, struct qb_census *c, struct qb_err *err);
int qb_census_bitmaps(struct qb_io *io, struct qb_census *c, struct qb_err *err);

/* Whether something about the bitmap table, or an entry of it, is odd. */
int qb_bitmaps_table_is_odd(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                            uint32_t entries, bool *is_odd, struct qb_err *err);

/* Calls fn for every range of host bytes that persistent bitmaps occupy (directory, tables, data);
 * fn returns 0, or 1 for a directory or table that is not to be followed, or -1.  Faulty entries
 * are reported to `odd` (may be NULL) and left out.  Used by the census, and by a plan that drops
 * the bitmaps. */
#define QB_BITMAP_DATA "a bitmap's data" /* what a range is that is data */
typedef int qb_range_fn(void *arg, uint64_t offset, uint64_t len, const char *what,
                        struct qb_err *err);
int qb_bitmaps_walk(struct qb_io *io, const struct qb_image *img, qb_range_fn *fn,
                    void (*odd)(void *arg, uint64_t at, const char *text), void *arg,
                    struct qb_err *err);

#endif
