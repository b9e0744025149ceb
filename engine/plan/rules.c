/* The table of rules, and the hook that is called without a plan. */
#include "plan/rule.h"

const struct qb_rule *const qb_rules[QB_N_RULES] = {
#define QB_RULE(name) &qb_rule_##name,
#include "plan/rules.def"
#undef QB_RULE
};

int qb_rules_confirm(struct qb_io *io, struct qb_image *img, const struct qb_request *rq,
                     struct qb_err *err)
{
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->confirm && qb_rules[i]->confirm(io, img, rq, err) < 0)
            return -1;
    return 0;
}
