/* Fills schema.json.in: a line `"@section@": 0` is replaced by the keys of that section. */
#include "manifest/schema.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "job/keys.h"
#include "util/fill.h"

static void put_string(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++)
        fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', f);
}

/* ---- what a key takes ------------------------------------------------------------------------ */

/* A word, and its value in YAML without quotes: off is false, 0.10 is the number 0.1. */
static void put_word(FILE *f, const char *word)
{
    char *end;
    double number = strtod(word, &end);

    put_string(f, word);
    if (isdigit((unsigned char)word[0]) && !*end)
        fprintf(f, ", %g", number);
    else if (strcmp(word, "off") == 0 || strcmp(word, "no") == 0)
        fputs(", false", f);
    else if (strcmp(word, "on") == 0 || strcmp(word, "yes") == 0)
        fputs(", true", f);
}

static void put_words(FILE *f, const char *const *words)
{
    fputs("\"enum\": [", f);
    for (size_t i = 0; words[i]; i++) {
        fputs(i ? ", " : "", f);
        put_word(f, words[i]);
    }
    fputc(']', f);
}

/* A small number or any text of digits; where few are meant, these. */
static void put_number(FILE *f, const struct qb_key_row *key)
{
    if (key->kind == QB_KIND_NUMBER_POWER && key->high <= 64) {
        fputs("\"enum\": [", f);
        for (uint64_t n = key->low; n <= key->high; n *= 2)
            fprintf(f, "%s%" PRIu64 ", \"%" PRIu64 "\"", n == key->low ? "" : ", ", n, n);
        fputc(']', f);
        return;
    }
    fprintf(f,
            "\"anyOf\": [{\"type\": \"integer\", \"minimum\": %" PRIu64 ", \"maximum\": %" PRIu64
            "}, "
            "{\"type\": \"string\", \"pattern\": \"^(0|[1-9][0-9]*)$\"}%s]",
            key->low, key->high, key->kind == QB_KIND_AUTO_NUMBER ? ", {\"const\": \"auto\"}" : "");
}

static void put_text(FILE *f, const struct qb_key_row *key)
{
    fputs("\"anyOf\": [{", f);
    if (key->words)
        put_words(f, key->words);
    else
        fprintf(f, "\"type\": \"string\", \"maxLength\": %" PRIu64, key->high);
    fputs("}, {\"type\": \"null\"}, {\"const\": \"\"}]", f);
}

static void put_amount(FILE *f, const struct qb_key_row *key)
{
    fprintf(f, "\"anyOf\": [%s, {\"type\": \"string\", \"pattern\": \"^(0|[1-9][0-9]?|100)%%$\"}]",
            key->kind == QB_KIND_SIZE_OR_PERCENT
                ? "{\"$ref\": \"#/$defs/size\"}"
                : "{\"type\": \"integer\", \"minimum\": 0}, "
                  "{\"type\": \"string\", \"pattern\": \"^(0|[1-9][0-9]*)$\"}");
}

/* Kinds whose schema is always the same. */
static const char *fixed_schema(enum qb_key_kind kind)
{
    switch (kind) {
    case QB_KIND_SWITCH:
        return "\"$ref\": \"#/$defs/switch\"";
    case QB_KIND_SIZE:
    case QB_KIND_SIZE_POWER:
        return "\"$ref\": \"#/$defs/size\"";
    case QB_KIND_SIZE_CHANGE:
        return "\"$ref\": \"#/$defs/size_change\"";
    case QB_KIND_AMOUNTS:
        return "\"type\": \"array\", \"minItems\": 1, \"maxItems\": 31, \"items\": {\"anyOf\": "
               "[{\"type\": \"integer\", \"minimum\": 1}, {\"type\": \"string\", \"pattern\": "
               "\"^([1-9][0-9]*|[1-9][0-9]?%|100%)$\"}]}";
    case QB_KIND_NAMES:
        return "\"$ref\": \"#/$defs/names\"";
    case QB_KIND_COMMAND:
        return "\"type\": \"array\", \"minItems\": 1, \"items\": {\"type\": \"string\"}";
    case QB_KIND_AUTO_SIZE:
        return "\"anyOf\": [{\"$ref\": \"#/$defs/size\"}, {\"const\": \"auto\"}]";
    case QB_KIND_AUTO_DURATION:
        return "\"anyOf\": [{\"$ref\": \"#/$defs/duration\"}, {\"const\": \"auto\"}]";
    case QB_KIND_DURATION:
        return "\"$ref\": \"#/$defs/duration\"";
    case QB_KIND_PERCENT:
        return "\"anyOf\": [{\"type\": \"number\", \"minimum\": 0, \"maximum\": 100}, "
               "{\"type\": \"string\", \"pattern\": \"^[0-9]+(\\\\.[0-9]+)?$\"}]";
    case QB_KIND_NICE:
        return "\"anyOf\": [{\"type\": \"integer\", \"minimum\": -20, \"maximum\": 19}, "
               "{\"type\": \"string\", \"pattern\": \"^(-?(0|[1-9]|1[0-9])|-20)$\"}]";
    case QB_KIND_IONICE:
        return "\"type\": \"string\", \"pattern\": \"^(keep|idle|best-effort(:[0-7])?)$\"";
    case QB_KIND_WINDOW:
        return "\"type\": \"string\", \"pattern\": "
               "\"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$|^any$\"";
    case QB_KIND_DATE:
        return "\"type\": \"string\", \"pattern\": "
               "\"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$\"";
    default:
        return NULL;
    }
}

/* One word, `all` or `none`, or a list. */
static void put_list_of_words(FILE *f, const struct qb_key_row *key)
{
    static const char *const several[] = {"all", "none", NULL};

    fputs("\"anyOf\": [{", f);
    put_words(f, key->words);
    fputs("}, {", f);
    put_words(f, several);
    fputs("}, {\"type\": \"array\", \"minItems\": 1, \"items\": {", f);
    put_words(f, key->words);
    fputs("}}]", f);
}

static void put_property(FILE *f, const struct qb_key_row *key);

/* A list of mappings of the key's parts. */
static void put_mappings(FILE *f, const struct qb_key_row *key)
{
    const char *before = "";

    fputs("\"type\": \"array\", \"minItems\": 1, \"items\": {\"type\": \"object\", "
          "\"additionalProperties\": false, \"required\": [",
          f);
    qb_parts_each(part, key)
    {
        if (!part->is_required)
            continue;
        fputs(before, f);
        put_string(f, part->name);
        before = ", ";
    }
    fputs("], \"properties\": {", f);
    before = "";
    qb_parts_each(part, key)
    {
        fputs(before, f);
        put_property(f, part);
        before = ", ";
    }
    fputs("}}", f);
}

static void put_kind(FILE *f, const struct qb_key_row *key)
{
    const char *fixed = fixed_schema(key->kind);

    if (fixed)
        fputs(fixed, f);
    else if (key->kind == QB_KIND_NAME)
        fprintf(f, "\"type\": \"string\", \"minLength\": 1, \"maxLength\": %" PRIu64, key->high);
    else if (key->kind == QB_KIND_MAPPINGS)
        put_mappings(f, key);
    else if (qb_key_takes_none(key))
        put_text(f, key);
    else if (key->kind == QB_KIND_WORDS)
        put_list_of_words(f, key);
    else if (key->words)
        put_words(f, key->words);
    else if (key->kind == QB_KIND_COUNT_OR_PERCENT || key->kind == QB_KIND_SIZE_OR_PERCENT)
        put_amount(f, key);
    else
        put_number(f, key);
}

/* ---- the lines of a section ------------------------------------------------------------------ */

/* A mapping of the group's keys. */
static void put_group(FILE *f, const struct qb_key_row *group)
{
    const char *before = "";

    fputs("\"type\": \"object\", \"minProperties\": 1, \"additionalProperties\": false, "
          "\"properties\": {",
          f);
    qb_group_each(key, group)
    {
        fputs(before, f);
        put_property(f, key);
        before = ", ";
    }
    fputc('}', f);
}

static void put_property(FILE *f, const struct qb_key_row *key)
{
    put_string(f, qb_key_last_name(key));
    fputs(": {\"description\": ", f);
    put_string(f, key->help);
    if (key->standard) {
        fputs(", \"default\": ", f);
        put_string(f, key->standard);
    }
    fputs(", ", f);
    if (key->kind == QB_KIND_GROUP)
        put_group(f, key);
    else
        put_kind(f, key);
    fputc('}', f);
}

static void put_reference(FILE *f, const struct qb_key_row *key)
{
    fprintf(f, "\"%s\": {\"$ref\": \"#/$defs/amend/properties/%s\"}", key->name, key->name);
}

static void put_required(FILE *f, const struct qb_key_row *key)
{
    fprintf(f, "{\"required\": [\"%s\"]}", key->name);
}

/* Keys that take the place of a marker. */
static const struct listing {
    const char *marker;
    enum qb_section section;
    bool asked_only; /* keys that change something by themselves */
    void (*put)(FILE *f, const struct qb_key_row *key);
} listings[] = {
    {"\"@amend@\"", QB_SECTION_amend, false, put_property},
    {"\"@amend_refs@\"", QB_SECTION_amend, false, put_reference},
    {"\"@amend_asked@\"", QB_SECTION_amend, true, put_required},
    {"\"@policy@\"", QB_SECTION_policy, false, put_property},
    {"\"@limits@\"", QB_SECTION_limits, false, put_property},
    {"\"@rollout@\"", QB_SECTION_rollout, false, put_property},
    {"\"@condition@\"", QB_SECTION_condition, false, put_property},
};

enum { LISTINGS = sizeof(listings) / sizeof(listings[0]) };

/* The keys, a line each, indented as the marker was. */
static void put_keys(FILE *f, const void *arg, int indent)
{
    const struct listing *listing = arg;
    const char *before = "";

    qb_keys_each (key, listing->section) {
        if (qb_key_is_nested(key) ||
            (listing->asked_only && !key->bit && key->kind != QB_KIND_GROUP))
            continue;
        fprintf(f, "%s%*s", before, indent, "");
        listing->put(f, key);
        before = ",\n";
    }
}

void qb_schema_print(FILE *f)
{
    struct qb_fill fills[LISTINGS];

    for (size_t i = 0; i < LISTINGS; i++)
        fills[i] = (struct qb_fill){listings[i].marker, put_keys, &listings[i]};
    qb_fill_print(f, qb_schema, qb_schema_len, fills, LISTINGS);
}
