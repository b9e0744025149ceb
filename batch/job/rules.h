/* Holds what an entry of the manifest has in addition to the amend keys: the images that it applies
 * to, what must hold before and afterwards, how backing names are rewritten, and its tags. */
#ifndef QB_JOB_RULES_H
#define QB_JOB_RULES_H

#include "job/conditions.h"
#include "job/backing_rewrite.h"

struct qb_rules {
    struct qb_conditions when, expect, after;
    const struct qb_moves
        *moves;              /* NULL: backing names stay; owned by the batch, as the tags are */
    const char *const *tags; /* NULL-terminated; NULL: none */
};

/* Whether they alone can require an amend or a check of the image. */
static inline bool qb_rules_ask(const struct qb_rules *rules)
{
    return rules->moves || rules->after.set;
}

static inline bool qb_rules_are_none(const struct qb_rules *rules)
{
    return !rules->when.set && !rules->expect.set && !rules->after.set && !rules->moves &&
           !rules->tags;
}

/* A fingerprint of what shapes an amend, for the journal. */
uint32_t qb_rules_print(const struct qb_rules *rules, uint32_t sum);

#endif
