/* Persistent bitmaps as an amend leaves them: between the rule (rule_bitmaps.c), what its verbs do
 * to the list of bitmaps (bitmap_verbs.c, bitmap_merges.c), the tables that result
 * (bitmap_tables.c), and the clusters of bits that are new (bitmap_bits.c).
 *
 * A bitmap of the amended image has the bits of the old one, or none once it is cleared or where it
 * is added, and those of the bitmaps that are merged into it.  Clusters of bits are new where a
 * merge changes them, and where the smaller of the two disks ends in one. */
#ifndef QB_RULES_BITMAPS_H
#define QB_RULES_BITMAPS_H

#include "plan/plan.h"
#include "base/index.h"
#include "image/bitmap.h"

#define QB_BITMAP_NEW                                                                              \
    (UINT64_C(1) << 63)       /* of a planned table: new cluster of bits + its number              \
                               */
#define QB_NO_BITMAP SIZE_MAX /* as qb_new_bitmap.old: it is added */

/* The bits of an old bitmap that are merged into another one, rounded out to the coarsest
 * granularity on the way there. */
struct qb_bitmap_source {
    size_t old; /* of qb_bitmap_work.old */
    unsigned round_bits;
    /* The granule of that size that was looked at last, plus 1, and whether it has a bit. */
    uint64_t granule;
    bool is_dirty;
};

/* A cluster of bits that is new. */
struct qb_fresh_bits {
    uint64_t base;  /* the entry of the old table in its place */
    uint32_t index; /* in the table */
};

/* One bitmap of the amended image. */
struct qb_new_bitmap {
    struct qb_bitmap entry; /* of the directory */
    size_t old;             /* of qb_bitmap_work.old: what it was, or QB_NO_BITMAP */
    bool cleared;
    bool merged;   /* it gets bits that it did not have */
    bool disputed; /* `add` found it in another state, which a later verb may set right */
    QB_VEC(struct qb_bitmap_source) sources;
    uint64_t *table; /* owned: NULL where table and data stay as they are */
    QB_VEC(struct qb_fresh_bits) fresh;
    size_t table_at, data_at; /* of plan->contents; data_at where something is fresh */
};

/* What the amend does with bitmaps: the rule's own state. */
struct qb_bitmap_work {
    struct qb_bitmaps old; /* as the image has them; empty where it has none */
    QB_VEC(struct qb_new_bitmap) now;
    struct qb_index by_name; /* of `now`, under all names that they had, too */
    uint8_t *gone;           /* one an old bitmap: it was removed */
    uint8_t *lost;           /* ... with a table that is damaged: none of it is counted */
    bool whole;              /* ... all of them, with a directory that is damaged */
    uint64_t **held;         /* one an old bitmap: its table where others get its bits, else NULL */
    size_t n_sources;        /* of all bitmaps */
    bool changes;            /* the list or an entry is another one */
    uint8_t *directory;      /* owned: its bytes, once all has its place */
    uint64_t directory_len;
    size_t directory_at;      /* of plan->contents */
    QB_VEC(uint32_t) content; /* of plan->contents from first_content on: whose it is */
    size_t first_content;
    /* For the report, past the end of this struct: it outlives the rest of the plan. */
    struct qb_changed_bitmap *changed;
    char *changed_texts; /* where the next name goes */
    size_t changed_bytes;
    unsigned n_changed, n_listed;
};

/* Whether inconsistent bitmaps are removed. */
static inline bool qb_bitmaps_mended(const struct qb_request *rq)
{
    return qb_mends(rq, QB_REPAIR_BITMAPS) ||
           (qb_asked(rq, QB_KEY_BITMAPS) && rq->bitmaps_remove_inconsistent);
}

/* ---- rule_bitmaps.c -------------------------------------------------------------------------- */

/* The bitmaps of the amended image, before anything but the directory is read. */
int qb_bitmaps_make_list(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err);

/* Has the directory, and the tables and data that are new, appended, and the header name it. */
int qb_bitmaps_set_extension(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err);

/* ---- bitmap_damage.c ------------------------------------------------------------------------- */

/* QB_E_CORRUPT: something of the directory is damaged, and stays. */
int qb_bitmaps_refuse(const struct qb_err *odd, struct qb_err *err);

/* Whether all bitmaps go, whatever their names are; ... */
bool qb_bitmaps_remove_all(const struct qb_request *rq);

/* ... or where their directory cannot be read. */
bool qb_bitmaps_may_all_go(const struct qb_request *rq);

/* Fills w->old, and allocates and finds w->lost, of bitmaps that may go. */
int qb_bitmaps_read_old(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err);

/* Once it is known which go: has what is damaged of them not counted. */
int qb_bitmaps_skip_lost(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err);

/* ... of a downgrade, which drops them all. */
int qb_bitmaps_skip_dropped(struct qb_plan *plan, struct qb_err *err);

uint64_t qb_bitmaps_memory_limit(const struct qb_plan *plan);

/* ---- bitmap_moves.c -------------------------------------------------------------------------- */

/* Clusters of directory and tables, which may all be rewritten. */
int qb_bitmaps_metadata(const struct qb_plan *plan, uint64_t *n, struct qb_err *err);

/* Once it is known from which cluster on things move: has the tables and the directory rewritten
 * that lie there or name what does, and lists the clusters of bits (plan->moves.bits).  Bitmaps
 * with something that QEMU would not take stay where they are. */
int qb_bitmaps_move(struct qb_plan *plan, struct qb_err *err);

/* ---- bitmap_verbs.c -------------------------------------------------------------------------- */

/* Begins the list with the old bitmaps, and applies the request's verbs to it, in their order.
 * What is merged may take `memory_limit` bytes to note. */
int qb_bitmaps_apply(const struct qb_plan *plan, struct qb_bitmap_work *w, uint64_t memory_limit,
                     struct qb_err *err);

/* Whether one of them is a name, that must be there, and no pattern, which may match none. */
bool qb_bitmaps_any_plain(const struct qb_name_list *globs);

/* The bitmap that `merge` names: NULL with QB_E_REFUSED where there is none, or an inconsistent
 * one.
 */
struct qb_new_bitmap *qb_bitmaps_named(const struct qb_bitmap_work *w, const char *name,
                                       struct qb_err *err);

/* ---- bitmap_merges.c ------------------------------------------------------------------------- */

/* Notes for each bitmap whose bits it gets. */
int qb_bitmaps_merge(const struct qb_plan *plan, struct qb_bitmap_work *w, uint64_t memory_limit,
                     struct qb_err *err);

/* ---- bitmap_tables.c ------------------------------------------------------------------------- */

/* Whether tables have to be looked at: bits are asked for, or the disk's size changes the number of
 * bits of a bitmap.  QB_E_REFUSED where a bitmap would be too large for QEMU. */
int qb_bitmaps_need_tables(const struct qb_plan *plan, const struct qb_bitmap_work *w, bool *need,
                           struct qb_err *err);

/* Decides about table and data of one bitmap: b->table stays NULL where they stay.  The census has
 * found the old tables sound. */
int qb_bitmap_plan_table(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_new_bitmap *b,
                         struct qb_err *err);

/* Writes the cluster of the bitmap's new table that begins at byte `at` of it. */
void qb_bitmap_fill_table(const struct qb_plan *plan, const struct qb_new_bitmap *b, uint64_t at,
                          uint8_t *to);

/* Takes away the references of old tables and data that the amended image does not have. */
int qb_bitmaps_release(struct qb_plan *plan, const struct qb_bitmap_work *w, struct qb_err *err);

/* ---- bitmap_changes.c ------------------------------------------------------------------------ */

/* Fills w->changed, once all tables are decided.  Returns the rule's state, which has moved; NULL:
 * an error. */
struct qb_bitmap_work *qb_bitmaps_list_changed(struct qb_plan *plan, struct qb_bitmap_work *w,
                                               struct qb_err *err);

/* ---- bitmap_bits.c --------------------------------------------------------------------------- */

/* Whether a new size gives the bitmap another number of bits. */
bool qb_bitmap_is_resized(const struct qb_plan *plan, const struct qb_bitmap *b);

/* Bits of that bitmap that the smaller of the two disks has. */
uint64_t qb_bitmap_kept_bits(const struct qb_plan *plan, const struct qb_bitmap *b);

/* The clusters of bits of `b`, [*first, *end), in which entry `index` of the source's old table may
 * set some. */
void qb_bitmap_reach(const struct qb_plan *plan, const struct qb_bitmap_work *w,
                     const struct qb_new_bitmap *b, const struct qb_bitmap_source *s,
                     uint32_t index, uint64_t *first, uint64_t *end);

/* A cluster of bits while it is computed. */
struct qb_bits {
    uint8_t *was;     /* a cluster: as the old table has it */
    uint8_t *now;     /* a cluster: as it shall be */
    uint8_t *scratch; /* two clusters */
};

/* Computes the cluster number `index` of the bitmap's bits, whose old entry is `base`: reads the
 * old bits, cuts them where the smaller disk ends, and sets those of all sources.  *merged: whether
 * the latter set any. */
int qb_bitmap_compute(struct qb_io *io, const struct qb_plan *plan, const struct qb_bitmap_work *w,
                      struct qb_new_bitmap *b, struct qb_fresh_bits at, struct qb_bits *bits,
                      bool *merged, struct qb_err *err);

#endif
