/* Counts the references to each host cluster.  Pages of 512 clusters exist only where something is
 * counted.  A page whose clusters are all alike (most of a large image) takes a few words;
 * otherwise a count takes a byte until it exceeds 255.  Clusters that a plan appends past the
 * image's end are stored as runs, so a trillion new clusters take a few bytes.  For the check the
 * counts are the refcounts as they should be, for a plan as they will be. */
#ifndef QB_CHECK_COUNTS_H
#define QB_CHECK_COUNTS_H

#include "base/err.h"
#include "base/index.h"
#include "base/num.h"
#include "base/vec.h"

#define QB_PAGE_COUNTS 512u

/* Marks of a cluster, in addition to its count. */
enum qb_mark {
    QB_MARK_META = 1,     /* holds metadata, L2 tables included */
    QB_MARK_COPIED = 2,   /* an active entry names it with COPIED set */
    QB_MARK_PLAIN = 4,    /* an active entry names it without */
    QB_MARK_OVERLAP = 8,  /* metadata that is referred to as something else too */
    QB_MARK_DROPPED = 16, /* a reference was subtracted: what was counted may be no more */
};

struct qb_count_page {
    uint64_t number; /* covers clusters [number * 512, number * 512 + 512) */
    uint8_t *cells;  /* 512 counts, then 512 marks; NULL: all are alike */
    uint64_t *wide;  /* the counts, once one of them exceeds 255; else NULL, as without cells */
    uint64_t count;  /* of each cluster, while all are alike, ... */
    uint8_t marks;   /* ... and its marks */
};

struct qb_count_run {
    uint64_t first, end; /* clusters */
    uint64_t count;
};

struct qb_counts {
    struct qb_count_page **pages; /* the first n_ordered by number: see qb_counts_pages */
    size_t n_pages, n_ordered;
    struct qb_index by_number;        /* of the pages */
    struct qb_count_page *last;       /* the page touched last */
    QB_VEC(struct qb_count_run) runs; /* ascending; after the clusters of all pages */
    uint64_t memory, memory_limit;    /* bytes */
};

void qb_counts_free(struct qb_counts *c);

/* Counts `bytes` of other memory (tables, lists, steps of a plan) against the same limit, before
 * they are allocated; QB_E_MEMORY at the limit.  So `memory` is all that a census and its plan
 * hold, including malloc's overhead for each block. */
int qb_counts_hold(struct qb_counts *c, uint64_t bytes, struct qb_err *err);
void qb_counts_let_go(struct qb_counts *c, uint64_t bytes); /* to be called when they are freed */

/* Appends to a vector, whose memory is counted with qb_counts_hold: 0 or -1. */
#define qb_counts_push(c, v, err, ...)                                                             \
    ((v)->n >= (v)->cap &&                                                                         \
             qb_counts_hold(c, ((v)->cap ? (v)->cap : 8) * sizeof(*(v)->items), err) < 0           \
         ? -1                                                                                      \
     : qb_vec_push(v, __VA_ARGS__) ? 0                                                             \
                                   : qb_fail_memory(err))

/* Adds n references to a cluster and sets marks; QB_E_MEMORY at the limit. */
int qb_counts_add(struct qb_counts *c, uint64_t cluster, uint64_t n, unsigned marks,
                  struct qb_err *err);

/* Adds n references to each of `clusters` clusters from `first` on, none of which is metadata:
 * where one is counted as metadata already, QB_MARK_OVERLAP is set. */
int qb_counts_add_data(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                       unsigned marks, struct qb_err *err);

/* The same, of clusters that may be metadata as well. */
int qb_counts_add_plain(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                        struct qb_err *err);

/* Adds the counts of `more` to those of `c`, cluster by cluster.  Marks stay as they are; `more`
 * has no runs. */
int qb_counts_add_counts(struct qb_counts *c, struct qb_counts *more, struct qb_err *err);

/* Moves what another thread counted of the same image with qb_counts_add_data into `c`, as if it
 * had been added here, and frees `part`, also after a failure. */
int qb_counts_join(struct qb_counts *c, struct qb_counts *part, struct qb_err *err);

/* Adds one reference to each of `clusters` clusters from `first` on, which are metadata: where one
 * is counted already QB_MARK_OVERLAP is set, and *overlaps becomes 1. */
int qb_counts_add_meta(struct qb_counts *c, uint64_t first, uint64_t clusters, int *overlaps,
                       struct qb_err *err);

struct qb_counts_left {
    uint64_t n;           /* clusters that were subtracted from */
    uint64_t n_zero;      /* of these, those that have no reference left */
    bool is_one_of_plain; /* one with QB_MARK_PLAIN has one left */
};

/* Subtracts n references from each of up to `clusters` clusters from `first` on, as many as one
 * page has, and sets QB_MARK_DROPPED.  Counts do not fall below 0. */
int qb_counts_sub(struct qb_counts *c, uint64_t first, uint64_t clusters, uint64_t n,
                  struct qb_counts_left *left, struct qb_err *err);

/* Appends a run of clusters after all that was counted before; merges it with the last run if
 * possible. */
int qb_counts_append(struct qb_counts *c, uint64_t first, uint64_t n, uint64_t count,
                     struct qb_err *err);

uint64_t qb_counts_get(struct qb_counts *c, uint64_t cluster);
unsigned qb_counts_marks(struct qb_counts *c, uint64_t cluster);

/* The page that covers a cluster, or NULL where nothing is counted. */
struct qb_count_page *qb_counts_page(struct qb_counts *c, uint64_t cluster);

/* The same; changes nothing, so that several threads may do it at the same time. */
struct qb_count_page *qb_counts_find(const struct qb_counts *c, uint64_t cluster);
static inline uint64_t qb_page_count(const struct qb_count_page *p, unsigned i)
{
    return p->wide ? p->wide[i] : p->cells ? p->cells[i] : p->count;
}
static inline unsigned qb_page_marks(const struct qb_count_page *p, unsigned i)
{
    return p->cells ? p->cells[QB_PAGE_COUNTS + i] : p->marks;
}

/* Whether the cluster is counted, and no metadata. */
static inline bool qb_page_has_data(const struct qb_count_page *p, unsigned i)
{
    return qb_page_count(p, i) && !(qb_page_marks(p, i) & QB_MARK_META);
}

/* All n_pages pages, in the order of their numbers.  Valid until the next page is added. */
struct qb_count_page *const *qb_counts_pages(struct qb_counts *c);

/* The first cluster at or after this one that lies in a page; UINT64_MAX when there is none. */
uint64_t qb_counts_next(struct qb_counts *c, uint64_t cluster);

/* Whether any of the clusters [first, end) is counted.  The work depends on the number of pages,
 * not on the length of the range. */
bool qb_counts_any(struct qb_counts *c, uint64_t first, uint64_t end);

/* Fills a refcount block: the counts of the clusters from `first` on, `n` of them, `order` wide.
 * The largest count must fit: see qb_counts_max. */
void qb_counts_render(struct qb_counts *c, uint64_t first, uint64_t n, unsigned order,
                      uint8_t *block);

/* The largest count, and in *cluster the first that has it. */
uint64_t qb_counts_max(struct qb_counts *c, uint64_t *cluster);

/* One past the last cluster that is counted. */
uint64_t qb_counts_end(const struct qb_counts *c);

#endif
