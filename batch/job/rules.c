#include "job/rules.h"

#include <string.h>

#include "qcow2/deflate.h"

static uint32_t print_conditions(const struct qb_conditions *c, uint32_t sum)
{
    for (size_t i = 0; i < QB_CONDITION_COUNT; i++) {
        const char *text = c->set & 1u << i ? c->texts[i] : "";

        sum = qb_crc32(sum, text, strlen(text) + 1);
    }
    return sum;
}

uint32_t qb_rules_print(const struct qb_rules *rules, uint32_t sum)
{
    sum = print_conditions(&rules->when, sum);
    sum = print_conditions(&rules->expect, sum);
    sum = print_conditions(&rules->after, sum);
    return rules->moves ? qb_moves_print(rules->moves, sum) : sum;
}
