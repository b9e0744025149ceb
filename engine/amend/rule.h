/* A rule is what one amend key, or one kind of work, asks of an image and of a plan: one file,
 * rule_NAME.c, and one row of rules.def.  Planning calls the hooks of all rules in the order of the
 * rows and merges what they ask for; it knows none of them by name.  A hook that a rule does not
 * need is NULL. */
#ifndef QB_AMEND_RULE_H
#define QB_AMEND_RULE_H

#include "amend/target.h"
#include "qcow2/l2.h"

struct qb_plan;
struct qb_new_table;
struct qb_visit;

/* What becomes of L2 entries. */
enum qb_fate {
    QB_FATE_KEEP,       /* they stay what they are in the source table */
    QB_FATE_ZERO,       /* plain zero clusters */
    QB_FATE_UNALLOCATE, /* nothing */
    QB_FATE_NEW_ZEROS,  /* each gets the next cluster of the run of new zeros */
    QB_FATE_APPENDED,   /* each gets the cluster that the plan appends as number `source` */
    QB_FATE_DISPUTED,   /* two rules have decided, differently: no plan comes of it */
};

/* The entries [first, first + n) of one L2 table: alike in the source, and with one fate. */
struct qb_entries {
    uint64_t first, n;
    enum qb_kind kind; /* in the source table */
    enum qb_fate fate;
    size_t source; /* QB_FATE_APPENDED: of plan->contents */
};

struct qb_rule {
    const char *name;

    /* Decides about entries of a table that is written anew: sets e->fate, and makes e->n smaller
     * where that fate does not reach to the end.  What earlier rules have decided is in e->fate:
     * KEEP and ZERO may be turned into something else, the other fates are final.  Called for
     * counting and for filling alike, so the answer depends on nothing but the plan. */
    void (*entries)(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e);

    /* Before a table is counted: reads whatever `entries` has to know about it beyond the plan. */
    int (*look)(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err);
};

#define QB_RULE(name) extern const struct qb_rule qb_rule_##name;
#include "amend/rules.def"
#undef QB_RULE

enum qb_rule_id {
#define QB_RULE(name) QB_RULE_##name,
#include "amend/rules.def"
#undef QB_RULE
    QB_N_RULES
};

extern const struct qb_rule *const qb_rules[QB_N_RULES];

#endif
