#include "job/conditions.h"

const struct qb_key_row *qb_condition_key(enum qb_condition which)
{
    const struct qb_key_row *key = qb_keys;

    while (key->section !=
           QB_SECTION_condition) /* the conditions are adjacent, in the order of the enum */
        key++;
    return key + which;
}

bool qb_condition_set(enum qb_condition which, const char *text, struct qb_conditions *out,
                      struct qb_why *why)
{
    struct qb_key_value v;

    if (!qb_key_read(qb_condition_key(which), text, &v, why))
        return false;
    out->values[which] = v.n;
    out->set |= 1u << which;
    snprintf(out->texts[which], sizeof(out->texts[which]), "%s", text);
    return true;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool holds(enum qb_condition which, uint64_t wanted, const struct qb_condition_facts *facts)
{
    const struct qb_info *info = facts->info;

    switch (which) {
    case QB_IF_compat:
        return info->version == wanted;
    case QB_IF_size_min:
        return info->virtual_size >= wanted;
    case QB_IF_size_max:
        return info->virtual_size <= wanted;
    case QB_IF_allocated_max:
        return !facts->has_file || facts->allocated_bytes <= wanted;
    case QB_IF_has_backing:
        return info->has_backing_file == wanted;
    case QB_IF_has_snapshots:
        return (info->nb_snapshots > 0) == wanted;
    case QB_IF_dirty:
        return info->dirty == wanted;
    case QB_IF_lazy_refcounts:
        return info->lazy_refcounts == wanted;
    case QB_IF_refcount_bits:
        return info->refcount_bits == wanted;
    case QB_IF_mtime_before:
        return !facts->has_file || facts->mtime_seconds < (int64_t)wanted;
    case QB_CONDITION_COUNT:
        break;
    }
    return true;
}

enum qb_condition qb_conditions_broken(const struct qb_conditions *c,
                                       const struct qb_condition_facts *facts)
{
    for (int i = 0; i < QB_CONDITION_COUNT; i++)
        if (c->set & 1u << i && !holds((enum qb_condition)i, c->values[i], facts))
            return (enum qb_condition)i;
    return QB_CONDITION_COUNT;
}
