/* Between the parts of planning L2 tables: new_entries.c (what becomes of an entry),
 * new_tables_count.c (what a table takes), new_tables.c (which tables are written anew). */
#ifndef QB_AMEND_NEW_TABLES_H
#define QB_AMEND_NEW_TABLES_H

#include "amend/plan.h"

/* ---- new_entries.c
 * ----------------------------------------------------------------------------------
 */

/* Where the next new cluster of zeros of a table comes from. */
struct qb_cursor {
    uint64_t cluster; /* counted from the zero run's start */
    uint64_t used;    /* share: references it has already */
};

/* What the rules decide about these entries: sets e->fate, and may make e->n smaller. */
void qb_new_decide(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e);

/* Calls fn for all entries of a table in their order, run by run, as they are decided.  `source` is
 * the source table's bytes, zeros where there is none, anything where t->all_zeros.  fn returns 0
 * or -1. */
typedef int qb_entries_fn(void *arg, const struct qb_entries *e, struct qb_err *err);
int qb_new_walk(const struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                qb_entries_fn *fn, void *arg, struct qb_err *err);

/* Fills the table as it shall be, once everything has its place.  QB_E_INTERNAL when it does not
 * take just the clusters that were counted for it. */
int qb_new_fill(struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                uint8_t *table, struct qb_err *err);

/* Moves the cursor to a cluster that can take `refs` more references, and takes it. */
uint64_t qb_new_take_cluster(const struct qb_plan *plan, struct qb_cursor *c, uint64_t refs);

/* The data entry with COPIED as the counts say. */
uint64_t qb_new_with_copied(struct qb_plan *plan, const struct qb_new_table *t, uint64_t entry);

/* ---- new_l1.c ------------------------------------------------------------------------------- */

/* What L1 entry `index` of `layer`, now `old`, shall be.  Before the layout only whether it differs
 * is meaningful. */
uint64_t qb_new_l1_entry(struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old);

/* ---- new_tables.c: for the rules' hooks `layers` and `tables` ---------------------------------
 */

/* The active layer lets go of the census's table `index`: what is left are the snapshots'
 * references. */
int qb_new_drop(struct qb_plan *plan, size_t index, struct qb_err *err);

/* The active layer gets a table of its own at this L1 index, which is above those before, in place
 * of `source`, what it has there, or QB_NO_TABLE. */
int qb_new_split(struct qb_plan *plan, uint32_t l1_index, size_t source, struct qb_err *err);

/* The census's table `source` is written anew, for all layers that have it. */
int qb_new_replace(struct qb_plan *plan, size_t source, struct qb_err *err);

/* ---- new_tables_count.c
 * --------------------------------------------------------------------------------- */

/* What planning the tables needs at hand. */
struct qb_visit {
    struct qb_io *io;
    struct qb_plan *plan;
    QB_VEC(size_t) tables; /* census tables to read */
    QB_VEC(size_t) news;   /* the new tables that they are for, where it matters */
    uint8_t *below;        /* one cluster, zero_clusters=defer only */
    struct qb_range empty; /* guest bytes where the chain has nothing allocated */
};

/* Reads v->tables in their order and calls fn(v, place in the list, table); with `held_only`, not
 * for tables that have no byte on disk and so no entry. */
int qb_visit_scan(struct qb_visit *v, bool held_only, qb_table_fn *fn, struct qb_err *err);

/* A table that the active layer names no more: each entry loses one reference. */
int qb_visit_release_table(void *visit, size_t index, const uint8_t *table, struct qb_err *err);

/* Counts for every new table what it takes: new clusters, references that its source's entries
 * lose. */
int qb_visit_count(struct qb_visit *v, struct qb_err *err);

#endif
