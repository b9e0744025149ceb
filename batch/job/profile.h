/* Says which images another system would refuse, or not support, by the facts of profiles.def: why,
 * where that is written, and what amend would mend it.  A profile is what was read in public
 * documents, not a promise of the system. */
#ifndef QB_JOB_PROFILE_H
#define QB_JOB_PROFILE_H

#include <stddef.h>

#include "qbatch.h"

enum qb_profile {
#define PROFILE(ID, name, read) QB_PROFILE_##ID,
#include "job/profiles.def"
#undef PROFILE
    QB_PROFILE_COUNT
};

struct qb_profile_row {
    const char *name, *read; /* the latter: which documents */
};

extern const struct qb_profile_row qb_profiles[QB_PROFILE_COUNT];

/* What is known of an image. */
struct qb_suit {
    const struct qb_info *info;
    unsigned chain; /* files of the backing chain, the image included; 0: not known */
};

struct qb_suit_rule {
    enum qb_profile profile;
    const char *code, *why, *source;
    const char *mend; /* a line of a manifest; NULL: no amend mends it */
    bool needs_chain;
    bool (*breaks)(const struct qb_suit *suit);
};

enum {
#define SUIT_RULE(ID, code, NEEDS, condition, why, source, mend) QB_SUIT_##ID##_##code,
#include "job/profiles.def"
#undef SUIT_RULE
    QB_SUIT_RULES
};

extern const struct qb_suit_rule qb_suit_rules[QB_SUIT_RULES];

/* Which rules an image breaks, and which could not be decided; a bit for each. */
struct qb_suits {
    uint16_t broken, undecided;
};

/* Whether some rule of the profile needs the length of the chain. */
bool qb_profile_needs_chain(enum qb_profile profile);

struct qb_suits qb_profile_test(enum qb_profile profile, const struct qb_suit *suit);

/* The mends of the rules in `broken`, in the order of the table: the next from *at on, which begins
 * as 0; NULL: there are no more.  No two rules of a profile have the same. */
const char *qb_suit_mend(uint16_t broken, size_t *at);

#endif
