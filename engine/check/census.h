/* The census: every reference in the image is counted and held against the refcounts and flags that
 * the image keeps.  Reads only.  It answers the check, and it is what planning trusts: an image
 * that its own tables contradict is never amended. */
#ifndef QB_CHECK_CENSUS_H
#define QB_CHECK_CENSUS_H

#include "check/counts.h"
#include "qcow2/tables.h"

/* What one L2 table holds; the same order as the tables. */
struct qb_table_note {
    uint32_t data, zero_plain, zero_allocated, compressed;
};

/* How the counts in one refcount block differ from the references. */
enum qb_block_differs {
    QB_BLOCK_LEAKS = 1, /* some are too high, of clusters in the file */
    QB_BLOCK_WRONG = 2, /* some are too low, or count clusters past the file's end */
};

struct qb_census {
    const struct qb_image *img;
    struct qb_io *io; /* while the census is taken */
    struct qb_tables tables;
    struct qb_table_note *notes; /* one a table */
    struct qb_counts counts;     /* what the refcounts should be */
    uint64_t *reftable;          /* refcount block offsets as on disk */
    size_t reftable_n;
    uint8_t *block_differs;   /* one a refcount block: bits of enum qb_block_differs */
    struct qb_counts surplus; /* by how much refcounts are too high: see qb_census_take_all */
    struct qb_clusters clusters;
    uint64_t n_bad;      /* entries and tables that cannot be: never repaired */
    uint64_t n_overlaps; /* metadata that something else claims too: never repaired */
    uint64_t n_low;      /* clusters whose refcount is too low */
    uint64_t n_copied;   /* clusters whose COPIED flags do not fit the refcount on disk */
    uint64_t n_leaks;    /* clusters whose refcount is too high */
    bool wants_surplus;
    bool copied_wrong; /* COPIED flags that do not fit the true count: to write anew */
    uint64_t end;      /* first byte behind the last cluster referred to, or counted in the file */
    struct qb_err first;  /* the first damage, in words */
    qb_finding_fn *found; /* may be NULL */
    void *found_arg;
};

#define QB_CENSUS_MEMORY (512ull << 20) /* bytes, when the caller names no limit */

/* Takes the census, in at most `memory_limit` bytes (0: QB_CENSUS_MEMORY), everything that it holds
 * included.  The image's snapshot
 * table must be in memory.  Returns 0 also when damage was found (see the numbers); -1 when it
 * could not be taken.  Free it in either case. */
int qb_census_take(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                   qb_finding_fn *found, void *arg, struct qb_census *out, struct qb_err *err);
void qb_census_free(struct qb_census *c);

/* The same census, and `surplus` holds every leak: for each cluster of the file the refcount on
 * disk less the references.  It takes its memory from the same limit. */
int qb_census_take_all(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                       struct qb_census *out, struct qb_err *err);

/* The two halves of it: counts the references, and compares them with the refcounts on disk.  What
 * the caller adds to out->counts in between counts as references too. */
int qb_census_count(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                    struct qb_census *out, struct qb_err *err);
int qb_census_compare(struct qb_io *io, struct qb_census *c, struct qb_err *err);

/* Whether there is damage that rebuilding the refcounts would not heal. */
static inline bool qb_census_is_broken(const struct qb_census *c)
{
    return c->n_bad || c->n_overlaps;
}

static inline uint64_t qb_census_corruptions(const struct qb_census *c)
{
    return c->n_bad + c->n_overlaps + c->n_low + c->n_copied;
}

/* ---- for the parts of the census (census.c, references.c, compare.c) --------------------------
 */

/* Notes one finding. */
void qb_census_note(struct qb_census *c, uint64_t *counter, bool is_leak, uint64_t offset,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Counts [offset, offset + len) as metadata, once; overlaps are marked.  1 when there is one: what
 * stands there has been looked at, or will be, and need not be followed twice. */
int qb_census_meta(struct qb_census *c, uint64_t offset, uint64_t len, const char *what,
                   struct qb_err *err);

int qb_census_references(struct qb_io *io, struct qb_census *c, struct qb_err *err);
int qb_census_bitmaps(struct qb_io *io, struct qb_census *c, struct qb_err *err);

/* Calls fn for every range of host bytes that persistent bitmaps occupy (directory, tables, data);
 * fn returns 0, or 1 for a directory or table that is not to be followed, or -1.
 * Odd entries are told to `odd` (may be NULL) and left out.  Used by the census, and by a plan that
 * drops the bitmaps. */
typedef int qb_range_fn(void *arg, uint64_t offset, uint64_t len, const char *what,
                        struct qb_err *err);
int qb_bitmaps_walk(struct qb_io *io, const struct qb_image *img, qb_range_fn *fn,
                    void (*odd)(void *arg, uint64_t at, const char *text), void *arg,
                    struct qb_err *err);

/* Whether every persistent bitmap stays valid when the disk has `size` bytes: its table must have
 * exactly the entries that the size asks for (QEMU loads it only then). */
int qb_bitmaps_fit(struct qb_io *io, const struct qb_image *img, uint64_t size, bool *fit,
                   struct qb_err *err);

#endif
