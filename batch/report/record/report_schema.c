/* Fills report_schema.json.in from the tables that the reports are written from. */
#include "record/report_schema.h"

#include <string.h>

#include "check/defects.h"
#include "job/keys.h"
#include "outcome/outcome.h"
#include "job/profile.h"
#include "util/fill.h"

/* One line of a list: `n` counts them. */
static void put_line(FILE *f, int indent, size_t n, const char *name, const char *value)
{
    fprintf(f, "%s%*s\"%s\"%s", n ? ",\n" : "", indent, "", name, value);
}

/* ---- words ----------------------------------------------------------------------------------- */

static void put_codes(FILE *f, const void *arg, int indent)
{
    (void)arg;
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        put_line(f, indent, code - (QB_E_NONE + 1), qb_code_name(code), "");
}

static void put_defects(FILE *f, const void *value, int indent)
{
    for (size_t i = 0; i < QB_DEFECT_COUNT; i++)
        put_line(f, indent, i, qb_defects[i].name, value);
}

static void put_profiles(FILE *f, const void *arg, int indent)
{
    (void)arg;
    for (size_t i = 0; i < QB_PROFILE_COUNT; i++)
        put_line(f, indent, i, qb_profiles[i].name, "");
}

/* Each code once: profiles share some. */
static void put_suit_rules(FILE *f, const void *arg, int indent)
{
    size_t n = 0;

    (void)arg;
    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        bool known = false;

        for (size_t j = 0; j < i; j++)
            known |= strcmp(qb_suit_rules[j].code, qb_suit_rules[i].code) == 0;
        if (!known)
            put_line(f, indent, n++, qb_suit_rules[i].code, "");
    }
}

/* The statuses as words, or with a value as the properties of an object. */
static void put_statuses(FILE *f, const void *value, int indent)
{
    for (size_t i = 0; i < QB_STATUS_COUNT; i++)
        put_line(f, indent, i, qb_status_names[i], value);
}

static void put_spans(FILE *f, const void *arg, int indent)
{
    (void)arg;
    for (enum qb_span_kind i = 0; i < QB_SPAN_COUNT; i++)
        put_line(f, indent, i, qb_span_names[i],
                 qb_span_is_barrier(i) ? ": {\"$ref\": \"#/$defs/barrier_span\"}"
                                       : ": {\"$ref\": \"#/$defs/worker_span\"}");
}

static void put_bitmap_changes(FILE *f, const void *arg, int indent)
{
    (void)arg;
    for (size_t i = 0; qb_bitmap_change_names[i]; i++)
        put_line(f, indent, i, qb_bitmap_change_names[i], ": {\"type\": \"boolean\"}");
}

/* ---- properties of images -------------------------------------------------------------------- */

/* A raw disk has only a format and a size: the other properties are null. */
static const char *schema_of(enum qb_shown_kind kind)
{
    switch (kind) {
    case QB_SHOWN_BOOL:
        return ": {\"type\": [\"boolean\", \"null\"]}";
    case QB_SHOWN_TEXT:
        return ": {\"$ref\": \"#/$defs/text\"}";
    case QB_SHOWN_COMPAT:
        return ": {\"enum\": [\"0.10\", \"1.1\", null]}";
    default:
        return ": {\"anyOf\": [{\"$ref\": \"#/$defs/number\"}, {\"type\": \"null\"}]}";
    }
}

/* The properties that keys amend: their names, or with the schema of each. */
static void put_properties(FILE *f, const void *with_schema, int indent)
{
    size_t n = 0;

    qb_keys_each (key, QB_SECTION_amend)
        if (key->shown.kind != QB_SHOWN_NOT)
            put_line(f, indent, n++, key->shown.name ? key->shown.name : key->name,
                     with_schema ? schema_of(key->shown.kind) : "");
}

void qb_report_schema_print(FILE *f)
{
    static const struct qb_fill fills[] = {
        {"\"@codes@\"", put_codes, NULL},
        {"\"@defects@\"", put_defects, ""},
        {"\"@defect_counts@\"", put_defects, ": {\"$ref\": \"#/$defs/number\"}"},
        {"\"@statuses@\"", put_statuses, ""},
        {"\"@status_counts@\"", put_statuses, ": {\"$ref\": \"#/$defs/number\"}"},
        {"\"@profiles@\"", put_profiles, NULL},
        {"\"@suit_rules@\"", put_suit_rules, NULL},
        {"\"@spans@\"", put_spans, NULL},
        {"\"@bitmap_changes@\"", put_bitmap_changes, NULL},
        {"\"@property_names@\"", put_properties, NULL},
        {"\"@properties@\"", put_properties, "with schema"},
    };

    qb_fill_print(f, qb_report_schema, qb_report_schema_len, fills,
                  sizeof(fills) / sizeof(fills[0]));
}
