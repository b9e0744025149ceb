/* The kinds of defects that a check finds in images: their permanent names, and what they mean. */
#ifndef QB_CHECK_DEFECTS_H
#define QB_CHECK_DEFECTS_H

#include "qbatch.h"

enum qb_defect {
#define DEFECT(CASE, name, COUNTER, what, means, todo) QB_DEFECT_##CASE,
#include "check/defects.def"
#undef DEFECT
    QB_DEFECT_COUNT
};

/* With what a defect is counted: a number of the census (census.h), or one of the check. */
enum qb_defect_counter {
    QB_COUNT_BAD,
    QB_COUNT_OVERLAPS,
    QB_COUNT_BLOCKS,
    QB_COUNT_LOW,
    QB_COUNT_COPIED,
    QB_COUNT_LEAKS,
    QB_COUNT_MARKS, /* not found by the census */
    QB_COUNT_SIGNS, /* not counted: see QB_FOUND_SIGN */
};

struct qb_defect_row {
    const char *name;
    enum qb_defect_counter counter;
    const char *what, *means, *todo; /* sentences, for people */
};

extern const struct qb_defect_row qb_defects[QB_DEFECT_COUNT];

enum qb_found_kind qb_defect_kind(enum qb_defect defect);

/* Passes a defect on to the caller of the check; `found` may be NULL. */
void qb_defect_tell(qb_finding_fn *found, void *arg, enum qb_defect defect, uint64_t offset,
                    const char *text);

/* The defect of that name, or QB_DEFECT_COUNT. */
enum qb_defect qb_defect_named(const char *name);

#endif
