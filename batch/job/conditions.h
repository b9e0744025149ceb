/* Conditions on an image: which are meant by an entry (`when`), what must hold before the first
 * write (`expect`) and at the end (`after`).  One table, conditions.def, feeds the reader of the
 * manifest, the test, the manual page and the schema. */
#ifndef QB_JOB_CONDITIONS_H
#define QB_JOB_CONDITIONS_H

#include <stdio.h>

#include "util/scalar.h"
#include "qbatch.h"

enum qb_condition {
#define CONDITION(name, KIND, values, good, help) QB_IF_##name,
#include "job/conditions.def"
#undef CONDITION
    QB_CONDITION_COUNT
};

/* A set of them, all of which must hold.  Zero is none. */
struct qb_conditions {
    unsigned set;                        /* bits of enum qb_condition */
    uint64_t values[QB_CONDITION_COUNT]; /* bytes, 0 or 1, a number, or seconds since 1970 */
    char texts[QB_CONDITION_COUNT][32];  /* as they were written */
};

struct qb_condition_row {
    const char *name, *values, *good, *help;
};

extern const struct qb_condition_row qb_condition_rows[QB_CONDITION_COUNT];

/* Adds the condition of that number from its text.  false with the reason in *why. */
bool qb_condition_set(enum qb_condition which, const char *text, struct qb_conditions *out,
                      struct qb_why *why);

/* What they are asked of. */
struct qb_condition_facts {
    const struct qb_info *info;
    bool has_file; /* else the conditions on the file count as held: it is not there yet */
    uint64_t allocated_bytes;
    int64_t mtime_seconds; /* since 1970 */
};

/* The first that does not hold, or QB_CONDITION_COUNT. */
enum qb_condition qb_conditions_broken(const struct qb_conditions *c,
                                       const struct qb_condition_facts *facts);

/* As an mdoc list. */
void qb_conditions_man(FILE *f);

#endif
