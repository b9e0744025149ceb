/* Declares what the files of the rule `reclaim` share. */
#ifndef QB_RULES_RECLAIM_H
#define QB_RULES_RECLAIM_H

#include "io/extents.h"
#include "plan/new_tables.h"

/* Clusters that read zero: the rule's own state. */
struct qb_zeros {
    QB_VEC(struct qb_range) runs; /* clusters of the file, ascending, disjoint */
    uint8_t **of;                 /* one a census table: a bit for each entry that becomes a zero
                                     cluster, or NULL; owned */
    size_t n_tables;
};

/* Reads what the image has counted as data, once and in the order of the file; fills z->runs. */
int qb_zeros_find(struct qb_plan *plan, struct qb_zeros *z, struct qb_err *err);

/* Whether the cluster is in one of the runs. */
bool qb_zeros_have(const struct qb_zeros *z, uint64_t cluster);

/* Whether entry `i` of the table, for guest byte `guest` and of kind QB_PARTIAL, will be copied,
 * and the copy would be zeros. */
int qb_zeros_in_copy(struct qb_visit *v, const uint8_t *table, uint64_t i, uint64_t guest,
                     bool *zero, struct qb_err *err);

/* Once everything has its place: sets plan->reclaim.bytes.  `block`: of the file system, bytes;
 * `list`: the file's extents. */
int qb_reclaim_count(struct qb_plan *plan, uint64_t block, const struct qb_extent_list *list,
                     struct qb_err *err);

#endif
