#include "job/rules.h"

#include <string.h>

#include "base/crc32.h"

/* Journals keep the result: conditions that were added later are hashed only if they are set, so
 * that older manifests keep their fingerprint. */
static uint32_t print_conditions(const struct qb_conditions *c, uint32_t sum)
{
    for (uint8_t i = 0; i < QB_CONDITION_COUNT; i++) {
        const char *text = c->set & 1u << i ? c->texts[i] : "";

        if (i > QB_IF_mtime_before && *text)
            sum = qb_crc32(sum, &i, 1);
        if (i <= QB_IF_mtime_before || *text)
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
