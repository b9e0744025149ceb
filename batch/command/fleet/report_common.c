/* What all runs of a report have in common is said of the whole. */
#include <stdio.h>
#include <string.h>

#include "fleet/report_parts.h"
#include "util/text.h"

/* The name that all have; else how many they are. */
static char *common_name(const struct qb_reports *r)
{
    char *text = NULL;

    for (size_t i = 1; i < r->shown.n; i++)
        if (!qb_text_same(r->shown.items[i].name, r->shown.items[0].name) || !r->shards.of)
            return asprintf(&text, "%zu runs", r->shown.n) < 0 ? NULL : text;
    return strdup(r->shown.items[0].name ? r->shown.items[0].name : "shards");
}

static bool has_label(const struct qb_origin *origin, const struct qb_label *wanted)
{
    for (size_t k = 0; k < origin->labels.n; k++)
        if (qb_text_same(origin->labels.items[k].key, wanted->key))
            return qb_text_same(origin->labels.items[k].value, wanted->value);
    return false;
}

/* The ticket of each shard is that of the fleet. */
static bool take_labels(struct qb_reports *r)
{
    const struct qb_origin *first = r->shown.items[0].origin;

    for (size_t k = 0; k < first->labels.n; k++) {
        const struct qb_label *label = &first->labels.items[k];
        size_t with = 0;

        qb_vec_each (part, &r->shown)
            with += has_label(part->origin, label);
        if (with == r->shown.n && !qb_origin_add_label(&r->batch.origin, label->key, label->value))
            return false;
    }
    return true;
}

bool qb_reports_take_common(struct qb_reports *r)
{
    r->batch.name = common_name(r);
    return r->batch.name && take_labels(r);
}
