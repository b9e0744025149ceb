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

/* Version 2 has no word for zero clusters. */
static inline bool qb_new_expands(const struct qb_plan *plan)
{
    return plan->target.header.version == 2;
}

/* Whether zero entry `i` of a table gets a cluster of its own there; else it becomes unallocated.
 */
bool qb_new_needs_cluster(const struct qb_plan *plan, const struct qb_new_table *out, uint64_t i);

/* Moves the cursor to a cluster that can take `refs` more references, and takes it. */
uint64_t qb_new_take_cluster(const struct qb_plan *plan, struct qb_cursor *c, uint64_t refs);

/* The data entry with COPIED as the counts say. */
uint64_t qb_new_with_copied(struct qb_plan *plan, const struct qb_new_table *out, uint64_t entry);

/* The table before the target version's rules: source, cut, zero stretch, copied cluster. */
void qb_new_base(const struct qb_plan *plan, const struct qb_new_table *out, const uint8_t *source,
                 uint8_t *table);

/* ---- new_tables_count.c
 * --------------------------------------------------------------------------------- */

/* What planning the tables needs at hand. */
struct qb_visit {
    struct qb_io *io;
    struct qb_plan *plan;
    QB_VEC(size_t) tables; /* census tables to read */
    QB_VEC(size_t) outs;   /* the outs that they are for, where it matters */
    uint8_t *scratch;      /* one cluster */
    uint8_t *below;        /* one cluster, zero_clusters=defer only */
    struct qb_range empty; /* guest bytes where the chain has nothing allocated */
};

/* Reads v->tables in their order and calls fn(v, place in the list, table); with `held_only`, not
 * for tables that have no byte on disk and so no entry. */
int qb_visit_scan(struct qb_visit *v, bool held_only, qb_table_fn *fn, struct qb_err *err);

/* A table that the active layer names no more: each entry loses one reference. */
int qb_visit_release_table(void *visit, size_t index, const uint8_t *table, struct qb_err *err);

/* Counts for every out what it takes: new clusters, references that its source's entries lose. */
int qb_visit_count(struct qb_visit *v, struct qb_err *err);

#endif
