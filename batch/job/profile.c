#include "job/profile.h"

#include <string.h>

const struct qb_profile_row qb_profiles[QB_PROFILE_COUNT] = {
#define PROFILE(ID, name, read) {name, read},
#include "job/profiles.def"
#undef PROFILE
};

static bool has_backing(const struct qb_info *i)
{
    return i->backing_file && i->backing_file[0];
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool is_uuid(const char *text)
{
    static const char like[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    size_t n = strlen(like);

    if (strlen(text) != n)
        return false;
    for (size_t k = 0; k < n; k++)
        if (like[k] == '-' ? text[k] != '-' : !strchr("0123456789abcdefABCDEF", text[k]))
            return false;
    return true;
}

#define SUIT_RULE(ID, code, NEEDS, condition, why, source, mend)                                   \
    static bool breaks_##ID##_##code(const struct qb_suit *s)                                      \
    {                                                                                              \
        const struct qb_info *i = s->info;                                                         \
                                                                                                   \
        (void)i;                                                                                   \
        return condition;                                                                          \
    }
#include "job/profiles.def"
#undef SUIT_RULE

#define HEADER false
#define CHAIN  true

const struct qb_suit_rule qb_suit_rules[QB_SUIT_RULES] = {
#define SUIT_RULE(ID, code, NEEDS, condition, why, source, mend)                                   \
    {QB_PROFILE_##ID, #code, why, source, mend, NEEDS, breaks_##ID##_##code},
#include "job/profiles.def"
#undef SUIT_RULE
};

_Static_assert(QB_SUIT_RULES <= 16, "struct qb_suits has a bit for each");

bool qb_profile_needs_chain(enum qb_profile profile)
{
    for (size_t i = 0; i < QB_SUIT_RULES; i++)
        if (qb_suit_rules[i].profile == profile && qb_suit_rules[i].needs_chain)
            return true;
    return false;
}

struct qb_suits qb_profile_test(enum qb_profile profile, const struct qb_suit *suit)
{
    struct qb_suits suits = {0};

    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        const struct qb_suit_rule *rule = &qb_suit_rules[i];

        if (rule->profile != profile)
            continue;
        if (rule->needs_chain && suit->chain == 0)
            suits.undecided |= (uint16_t)(1u << i);
        else if (rule->breaks(suit))
            suits.broken |= (uint16_t)(1u << i);
    }
    return suits;
}

const char *qb_suit_mend(uint16_t broken, size_t *at)
{
    while (*at < QB_SUIT_RULES) {
        size_t i = (*at)++;

        if ((broken >> i & 1) && qb_suit_rules[i].mend)
            return qb_suit_rules[i].mend;
    }
    return NULL;
}
