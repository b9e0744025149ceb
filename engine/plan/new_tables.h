/* Declares what the parts of planning L2 tables share: new_entries.c (decides about entries),
 * new_fill.c (fills tables), new_tables_count.c (counts what a table takes), new_tables.c (selects
 * the tables to rewrite). */
#ifndef QB_PLAN_NEW_TABLES_H
#define QB_PLAN_NEW_TABLES_H

#include "plan/plan.h"

/* ---- new_entries.c --------------------------------------------------------------------------- */

/* Where the next new cluster of zeros of a table comes from. */
struct qb_cursor {
    uint64_t cluster; /* counted from the zero run's start */
    uint64_t used;    /* zero_clusters=share: references that the cluster already has */
};

/* Has the rules decide about these entries: sets e->fate, and may make e->n smaller. */
void qb_new_decide(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e);

/* Decides about all entries of a table and calls fn for them in their order, run by run.  `source`
 * is the source table's bytes; zeros where there is none; not read where t->all_zeros.  fn returns
 * 0 or -1. */
typedef int qb_entries_fn(void *arg, const struct qb_entries *e, struct qb_err *err);
int qb_new_walk(const struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                qb_entries_fn *fn, void *arg, struct qb_err *err);

/* Where the entries of a table are written, in the target's geometry: `n` of them into each part; a
 * part that has nothing left is NULL. */
struct qb_new_parts {
    uint8_t *part[2];
    uint64_t n;
};

/* Whether entry `i` of these has no host cluster. */
bool qb_new_lacks_host(const struct qb_plan *plan, const uint8_t *source,
                       const struct qb_entries *e, uint64_t i);

/* new_fill.c: fills the new table; only after the layout.  QB_E_INTERNAL when it does not take
 * exactly the clusters that were counted for it. */
int qb_new_fill(struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                const struct qb_new_parts *parts, struct qb_err *err);

/* new_fill_plain.c: the same for a table of which each kind of entry has one fate; false: it is
 * none of these, and whatever is in the parts by now has no meaning.  *n_new: the new clusters of
 * zeros that it took. */
bool qb_new_fill_plain(struct qb_plan *plan, const struct qb_new_table *t, const uint8_t *source,
                       const struct qb_new_parts *parts, uint64_t *n_new);

/* New cluster of zeros number `cluster`, and those after it, `most` in all, as far as they lie in a
 * row: the byte of the file at which the first one lies, and how many.  One more than was planned
 * lies at 0: see qb_new_fill. */
uint64_t qb_new_zeros_at(const struct qb_plan *plan, uint64_t cluster, uint64_t most, uint64_t *n);

/* The new clusters of zeros that these entries take. */
uint64_t qb_new_taken(const struct qb_plan *plan, const uint8_t *source,
                      const struct qb_entries *e);

/* Moves the cursor to a cluster that can take `refs` more references, and takes it. */
uint64_t qb_new_take_cluster(const struct qb_plan *plan, struct qb_cursor *c, uint64_t refs);

/* The data entry with COPIED according to the counts. */
uint64_t qb_new_with_copied(struct qb_plan *plan, const struct qb_new_table *t, uint64_t entry);

/* ---- new_l1.c ------------------------------------------------------------------------------- */

/* The new value of L1 entry `index` of `layer`, now `old`.  Before the layout only whether it
 * differs is meaningful. */
uint64_t qb_new_l1_entry(struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old);

/* The table that L1 entry `index` of `layer`, now `old`, leads to after the amend: a place in
 * plan->new_tables.list, or QB_NO_TABLE where it leads nowhere, or to a table that stays. */
size_t qb_new_table_at(const struct qb_plan *plan, unsigned layer, uint32_t index, uint64_t old);

/* ---- convert.c: L2 tables in another geometry, where the target has or loses extended entries */

/* Finds the tables that plan->new_tables.list becomes, and the size of the active L1 table; all
 * tables that any layer uses are in that list, and counted.  QB_E_CORRUPT when a layer has entries
 * between its disk's end and its VM state. */
int qb_convert_plan(struct qb_plan *plan, struct qb_err *err);

/* Entries of the layer's L1 table after the amend. */
uint32_t qb_convert_l1_size(const struct qb_plan *plan, unsigned layer);

/* Fills the layer's L1 table, zeros so far, once everything has its place. */
int qb_convert_l1(struct qb_io *io, struct qb_plan *plan, unsigned layer, be64 *now,
                  struct qb_err *err);

/* ---- new_tables.c: for the rules' hooks `layers` and `tables` -------------------------------- */

/* The active layer drops the census's table `index`: only the snapshots' references to it remain.
 */
int qb_new_drop(struct qb_plan *plan, size_t index, struct qb_err *err);

/* The active layer gets a table of its own at this L1 index, in place of `source`, the table that
 * it has there, or QB_NO_TABLE.  Once an index at most. */
int qb_new_split(struct qb_plan *plan, uint32_t l1_index, size_t source, struct qb_err *err);

/* The census's table `source` is rewritten, for all layers that use it. */
int qb_new_replace(struct qb_plan *plan, size_t source, struct qb_err *err);

/* ---- new_tables_count.c ---------------------------------------------------------------------- */

/* The state of planning L2 tables. */
struct qb_visit {
    struct qb_io *io;
    struct qb_plan *plan;
    QB_VEC(size_t) tables; /* census tables to read */
    QB_VEC(size_t)
    news; /* one a table: the new table that it is read for; empty where tables are only released */
    uint8_t *below;        /* one cluster, zero_clusters=defer only */
    struct qb_range empty; /* bytes of the guest's disk where the chain has nothing allocated */
};

/* Reads v->tables in their order and calls fn(v, place in the list, table); with `held_only`,
 * tables that lie in a hole of the file, and so have no entry, are left out. */
int qb_visit_scan(struct qb_visit *v, bool held_only, qb_table_fn *fn, struct qb_err *err);

/* Drops one reference of each entry, for a table that the active layer no longer uses. */
int qb_visit_release_table(void *visit, size_t index, const uint8_t *table, struct qb_err *err);

/* Counts for every new table the new clusters that it takes and the references that its source's
 * entries lose. */
int qb_visit_count(struct qb_visit *v, struct qb_err *err);

/* ---- layout.c ------------------------------------------------------------------------------- */

/* Entries of the layer's L1 table after the amend. */
uint32_t qb_plan_l1_size(const struct qb_plan *plan, unsigned layer);

#endif
