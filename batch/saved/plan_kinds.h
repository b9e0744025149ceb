/* Counts what a plan does, by kinds of change: "412 upgrade, 3 grow, 1 refused". */
#ifndef QB_SAVED_PLAN_KINDS_H
#define QB_SAVED_PLAN_KINDS_H

#include <stdio.h>

#include "base/vec.h"
#include "outcome/outcome.h"

enum { QB_PLAN_KIND = 120 };

struct qb_plan_kind {
    char words[QB_PLAN_KIND];
    uint64_t n;
    bool changes;
};

struct qb_plan_kinds {
    QB_VEC(struct qb_plan_kind) list;
    bool short_of_memory;
};

void qb_plan_kinds_add(struct qb_plan_kinds *kinds, const struct qb_result *result);

/* Prints them without a newline: changes first, the most frequent of them before others. */
void qb_plan_kinds_print(struct qb_plan_kinds *kinds, FILE *f);

/* How many images are to be changed. */
uint64_t qb_plan_kinds_changes(const struct qb_plan_kinds *kinds);
void qb_plan_kinds_free(struct qb_plan_kinds *kinds);

#endif
