/* Tests conditions on an image: which images an entry applies to (`when`), what must hold before
 * the first write (`expect`) and at the end (`after`).  They are rows of keys.def. */
#ifndef QB_JOB_CONDITIONS_H
#define QB_JOB_CONDITIONS_H

#include "job/keys.h"

enum qb_condition {
#define ENUM_amend(name)
#define ENUM_policy(name)
#define ENUM_limits(name)
#define ENUM_rollout(name)
#define ENUM_condition(name)    QB_IF_##name,
#define KEY(section, name, ...) ENUM_##section(name)
#define KEYS_LATER(section, prefix, what)
#include "job/keys.def"
#undef KEYS_LATER
#undef KEY
#undef ENUM_condition
#undef ENUM_rollout
#undef ENUM_limits
#undef ENUM_policy
#undef ENUM_amend
    QB_CONDITION_COUNT
};

/* A set of them, all of which must hold.  Zero is none. */
struct qb_conditions {
    unsigned set;                        /* bits of enum qb_condition */
    uint64_t values[QB_CONDITION_COUNT]; /* bytes, 0 or 1, a number, or seconds since 1970 */
    char texts[QB_CONDITION_COUNT][32];  /* as in the manifest */
};

/* The row of a condition. */
const struct qb_key_row *qb_condition_key(enum qb_condition which);

/* Adds the condition of that number from its text.  false with the reason in *why. */
bool qb_condition_set(enum qb_condition which, const char *text, struct qb_conditions *out,
                      struct qb_why *why);

/* The image that conditions are tested on. */
struct qb_condition_facts {
    const struct qb_info *info;
    bool has_file; /* else the conditions on the file are taken as true: it does not exist yet */
    uint64_t allocated_bytes;
    int64_t mtime_seconds; /* since 1970 */
};

/* The first that does not hold, or QB_CONDITION_COUNT. */
enum qb_condition qb_conditions_broken(const struct qb_conditions *c,
                                       const struct qb_condition_facts *facts);

#endif
