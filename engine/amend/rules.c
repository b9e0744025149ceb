/* The table of rules. */
#include "amend/rule.h"

const struct qb_rule *const qb_rules[QB_N_RULES] = {
#define QB_RULE(name) &qb_rule_##name,
#include "amend/rules.def"
#undef QB_RULE
};
