#include "job/conditions.h"

#include <string.h>
#include <time.h>

enum kind { KIND_COMPAT, KIND_SIZE, KIND_BOOL, KIND_WIDTH, KIND_DATE };

static const enum kind kinds[QB_CONDITION_COUNT] = {
#define CONDITION(name, KIND, values, good, help) KIND_##KIND,
#include "job/conditions.def"
#undef CONDITION
};

const struct qb_condition_row qb_condition_rows[QB_CONDITION_COUNT] = {
#define CONDITION(name, KIND, values, good, help) {#name, values, good, help},
#include "job/conditions.def"
#undef CONDITION
};

/* ---- reading --------------------------------------------------------------------------------- */

/* 2026-01-31 or 2026-01-31T23:59:59Z: nothing that depends on where the host stands. */
static bool read_date(const char *text, uint64_t *out, struct qb_why *why)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm utc = {0};
        const char *end = strptime(text, forms[i], &utc);
        int day = utc.tm_mday;
        time_t at = end && !*end ? timegm(&utc) : -1;

        if (at >= 0 && utc.tm_mday == day) { /* a 30th of February has become another day */
            *out = (uint64_t)at;
            return true;
        }
    }
    return qb_why_not(why, NULL, "is no date like 2026-01-31 or 2026-01-31T23:59:59Z");
}

static bool read_compat(const char *text, uint64_t *out, struct qb_why *why)
{
    static const char *const words[] = {"0.10", "v2", "1.1", "v3", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    *out = word < 2 ? 2 : 3;
    return true;
}

static bool read_width(const char *text, uint64_t *out, struct qb_why *why)
{
    if (!qb_scalar_number(text, 1, 64, out, why))
        return false;
    return qb_is_power_of_two(*out) || qb_why_not(why, NULL, "is not a power of two");
}

static bool read_value(enum kind kind, const char *text, uint64_t *out, struct qb_why *why)
{
    bool on;

    switch (kind) {
    case KIND_COMPAT:
        return read_compat(text, out, why);
    case KIND_SIZE:
        return qb_scalar_size(text, 0, INT64_MAX, out, why);
    case KIND_WIDTH:
        return read_width(text, out, why);
    case KIND_DATE:
        return read_date(text, out, why);
    case KIND_BOOL:
        break;
    }
    if (!qb_scalar_bool(text, &on, why))
        return false;
    *out = on;
    return true;
}

bool qb_condition_set(enum qb_condition which, const char *text, struct qb_conditions *out,
                      struct qb_why *why)
{
    if (!read_value(kinds[which], text, &out->values[which], why))
        return false;
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

void qb_conditions_man(FILE *f)
{
    fputs(".Bl -tag -width Ds\n", f);
    for (size_t i = 0; i < QB_CONDITION_COUNT; i++)
        fprintf(f, ".It Cm %s : No %s\n%s.\n", qb_condition_rows[i].name,
                qb_condition_rows[i].values, qb_condition_rows[i].help);
    fputs(".El\n", f);
}
