#include "job/keys.h"

#include <stdio.h>
#include <string.h>

#include "util/text.h"

#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define REQUEST(member) offsetof(struct qb_request, member)
#define SETTING(member) offsetof(struct qb_settings, member)
#define SHOWN(KIND, member)                                                                        \
    {                                                                                              \
        QB_SHOWN_##KIND, offsetof(struct qb_info, member), NULL                                    \
    }
#define SHOWN_AS(KIND, member, name)                                                               \
    {                                                                                              \
        QB_SHOWN_##KIND, offsetof(struct qb_info, member), name                                    \
    }
#define PARTS(...)                                                                                 \
    (const struct qb_key_row[])                                                                    \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }
#define PART(key, ...)                                                                             \
    {                                                                                              \
        .section = QB_SECTION_amend, .name = #key, __VA_ARGS__                                     \
    }
#define ITEM(type, member) offsetof(struct type, member)
#define FIXED                                                                                      \
    "Fixed when the image is made: naming what the image has is no change, and anything else is "  \
    "refused. "
#define KEY(of, key, ...) {.section = QB_SECTION_##of, .name = #key, __VA_ARGS__},
#define KEYS_LATER(of, prefix, what)                                                               \
    {.section = QB_SECTION_##of,                                                                   \
     .name = #prefix ".*",                                                                         \
     .kind = QB_KIND_LATER,                                                                        \
     .values = "...",                                                                              \
     .good = "",                                                                                   \
     .help = what,                                                                                 \
     .text = "Not supported yet."},
const struct qb_key_row qb_keys[] = {
#include "job/keys.def"
};
#undef KEYS_LATER
#undef KEY

const size_t qb_keys_count = sizeof(qb_keys) / sizeof(qb_keys[0]);

/* ---- by name --------------------------------------------------------------------------------- */

const struct qb_key_row *qb_key_find(const char *name)
{
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        size_t len = strlen(key->name);

        if (key->section != QB_SECTION_amend)
            continue;
        if (key->name[len - 1] == '*' ? strncmp(name, key->name, len - 1) == 0
                                      : strcmp(name, key->name) == 0)
            return key;
    }
    return NULL;
}

const struct qb_key_row *qb_setting_find(const char *section, const char *name)
{
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        bool is_setting = key->section != QB_SECTION_amend && key->section != QB_SECTION_condition;

        if (is_setting && strcmp(key->name, name) == 0 &&
            (!section || strcmp(qb_section_name(key->section), section) == 0))
            return key;
    }
    return NULL;
}

const char *qb_section_name(enum qb_section section)
{
    static const char *const names[] = {
        [QB_SECTION_amend] = "amend",         [QB_SECTION_policy] = "policy",
        [QB_SECTION_limits] = "limits",       [QB_SECTION_rollout] = "rollout",
        [QB_SECTION_condition] = "condition",
    };

    return names[section];
}

size_t qb_key_names(enum qb_section section, const char *names[QB_KEYS_MAX])
{
    size_t n = 0;

    qb_keys_each (key, section)
        if (n < QB_KEYS_MAX - 1)
            names[n++] = key->name;
    names[n] = NULL;
    return n;
}

const char *qb_key_nearest(const char *name)
{
    const char *names[QB_KEYS_MAX];

    qb_key_names(QB_SECTION_amend, names);
    return qb_text_nearest(name, names);
}

const char *qb_key_last_name(const struct qb_key_row *key)
{
    const char *dot = strchr(key->name, '.');

    return dot && key->kind != QB_KIND_LATER ? dot + 1 : key->name;
}

bool qb_key_takes_none(const struct qb_key_row *key)
{
    return key->kind == QB_KIND_TEXT || key->kind == QB_KIND_FORMAT;
}

/* ---- setting --------------------------------------------------------------------------------- */

static void store_enum(void *field, uint64_t n)
{
    unsigned word = (unsigned)n; /* all enums of gcc and clang have this width */

    memcpy(field, &word, sizeof(word));
}

void qb_key_store(const struct qb_key_row *key, const struct qb_key_value *v, void *field)
{
    switch (key->kind) {
    case QB_KIND_SWITCH:
    case QB_KIND_WORD_BOOL:
        *(bool *)field = (v->n == 1) != key->inverted;
        break;
    case QB_KIND_WORD:
        store_enum(field, v->n);
        break;
    case QB_KIND_COMPAT:
    case QB_KIND_AUTO_NUMBER:
        *(unsigned *)field = (unsigned)v->n;
        break;
    case QB_KIND_WORD_TEXT:
    case QB_KIND_FORMAT:
    case QB_KIND_TEXT:
    case QB_KIND_NAME:
        *(const char **)field = v->text;
        break;
    case QB_KIND_DURATION:
    case QB_KIND_AUTO_DURATION:
    case QB_KIND_PERCENT:
        *(double *)field = v->real;
        break;
    case QB_KIND_COUNT_OR_PERCENT:
    case QB_KIND_SIZE_OR_PERCENT:
        *(struct qb_amount *)field =
            (struct qb_amount){.n = v->n, .is_percent = v->is_marked, .is_set = true};
        break;
    default:
        *(uint64_t *)field = v->n;
    }
}

bool qb_key_set(const struct qb_key_row *key, const char *text, struct qb_batch *batch,
                struct qb_request *rq, struct qb_why *why)
{
    struct qb_key_value v;

    if (qb_key_is_list(key))
        return qb_list_set(key, &text, 1, batch, rq, why);
    if (!qb_key_read(key, text, &v, why))
        return false;
    qb_key_store(key, &v, (char *)rq + key->field);
    if (key->kind == QB_KIND_SIZE_CHANGE)
        rq->size_is = v.is_marked ? QB_SIZE_ADDED : QB_SIZE_SET;
    rq->set |= key->bit;
    return true;
}

void qb_part_get(const struct qb_key_row *key, const void *item, size_t i, uint64_t *number,
                 const char **text)
{
    const void *field = (const char *)item + key->field;
    const struct qb_name_list *names = field;

    *number = 0;
    *text = NULL;
    switch (key->kind) {
    case QB_KIND_SWITCH:
    case QB_KIND_WORD_BOOL:
        *number = *(const bool *)field;
        break;
    case QB_KIND_WORD:
    case QB_KIND_WORDS:
    case QB_KIND_COMPAT:
    case QB_KIND_AUTO_NUMBER: {
        unsigned n;

        memcpy(&n, field, sizeof(n));
        *number = n;
        break;
    }
    case QB_KIND_WORD_TEXT:
    case QB_KIND_FORMAT:
    case QB_KIND_TEXT:
    case QB_KIND_NAME:
        *text = *(const char *const *)field;
        break;
    case QB_KIND_DURATION:
    case QB_KIND_AUTO_DURATION:
    case QB_KIND_PERCENT:
        memcpy(number, field, sizeof(*number));
        break;
    case QB_KIND_NAMES:
        *number = names->n;
        *text = i < names->n ? names->items[i] : NULL;
        break;
    case QB_KIND_MAPPINGS:
        *number = ((const struct qb_items *)field)->n;
        break;
    case QB_KIND_GROUP:
        break;
    default:
        *number = *(const uint64_t *)field;
    }
}

void qb_key_get(const struct qb_key_row *key, const struct qb_request *rq, uint64_t *number,
                const char **text)
{
    qb_part_get(key, rq, 0, number, text);
}

bool qb_setting_set(const struct qb_key_row *key, const char *text, struct qb_settings *settings,
                    struct qb_why *why)
{
    struct qb_limits *limits = &settings->limits;
    struct qb_key_value v;

    if (key->kind == QB_KIND_COMMAND)
        return qb_why_not(why, NULL, "is one text; write a list: the program, then each argument");
    /* A list is read with its manifest, where its paths begin. */
    if (key->kind == QB_KIND_NAMES || key->kind == QB_KIND_AMOUNTS)
        return qb_why_not(why, NULL, "is one text; write a list");
    if (!qb_key_read(key, text, &v, why))
        return false;
    if (key->kind == QB_KIND_NICE) {
        limits->has_nice = true;
        limits->nice = v.level;
    } else if (key->kind == QB_KIND_IONICE) {
        limits->ionice = (enum qb_ionice)v.n;
        limits->ionice_level = v.level;
    } else {
        qb_key_store(key, &v, (char *)settings + key->field);
    }
    /* Settings that both the run and the engine need. */
    settings->request.memory_limit = limits->memory_bytes;
    settings->request.owner_need_not_read = settings->policy.owner_need_not_read;
    return true;
}

void qb_limit_set(const struct qb_key_row *key, const char *text, struct qb_limits *limits)
{
    struct qb_settings settings = {.limits = *limits};
    struct qb_why why;

    if (qb_setting_set(key, text, &settings, &why))
        *limits = settings.limits;
}

/* ---- showing --------------------------------------------------------------------------------- */

const char *qb_key_values(const struct qb_key_row *key, char out[QB_KEY_VALUES])
{
    static const char *const of_kind[] = {
        [QB_KIND_SWITCH] = "on | off",
        [QB_KIND_SIZE] = "SIZE",
        [QB_KIND_SIZE_POWER] = "SIZE",
        [QB_KIND_NUMBER] = "NUMBER",
        [QB_KIND_NUMBER_POWER] = "NUMBER",
        [QB_KIND_AUTO_NUMBER] = "auto | NUMBER",
        [QB_KIND_AUTO_SIZE] = "auto | SIZE",
        [QB_KIND_DURATION] = "DURATION",
        [QB_KIND_AUTO_DURATION] = "auto | DURATION",
        [QB_KIND_PERCENT] = "PERCENT",
        [QB_KIND_COUNT_OR_PERCENT] = "NUMBER | PERCENT%",
        [QB_KIND_SIZE_OR_PERCENT] = "SIZE | PERCENT%",
        [QB_KIND_AMOUNTS] = "[NUMBER | PERCENT%]",
        [QB_KIND_NICE] = "NUMBER",
        [QB_KIND_WINDOW] = "HH:MM-HH:MM | any",
        [QB_KIND_DATE] = "DATE",
        [QB_KIND_NAME] = "NAME",
        [QB_KIND_NAMES] = "[NAME]",
        [QB_KIND_COMMAND] = "[PROGRAM, ARGUMENT...]",
        [QB_KIND_MAPPINGS] = "[{...}]",
        [QB_KIND_GROUP] = "{...}",
        [QB_KIND_LATER] = NULL,
    };
    size_t used = 0;

    if (key->values || !key->words) {
        snprintf(out, QB_KEY_VALUES, "%s", key->values ? key->values : of_kind[key->kind]);
        return out;
    }
    for (size_t i = 0; key->words[i] && used < QB_KEY_VALUES; i++)
        used += (size_t)snprintf(out + used, QB_KEY_VALUES - used, "%s%s", i ? " | " : "",
                                 key->words[i]);
    return out;
}

enum { HELP_COLUMN = 34 };

/* What of a list of mappings each part is typed as: bitmaps.add.N.name=NAME. */
static void help_line(FILE *f, const char *prefix, const struct qb_key_row *key)
{
    char values[QB_KEY_VALUES];
    int column = fprintf(f, "  %s%s=", prefix, key->name);

    for (const char *c = qb_key_values(key, values); *c; c++) /* as typed: without spaces */
        if (*c != ' ')
            column += fputc(*c, f) != EOF;
    if (column > HELP_COLUMN - 2)
        fputc('\n', f);
    fprintf(f, "%*s%s\n", column > HELP_COLUMN - 2 ? HELP_COLUMN : HELP_COLUMN - column, "",
            key->help);
}

void qb_keys_help(FILE *f)
{
    char prefix[80];

    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        if (key->section != QB_SECTION_amend || key->kind == QB_KIND_GROUP)
            continue;
        if (key->kind != QB_KIND_MAPPINGS) {
            help_line(f, "", key);
            continue;
        }
        snprintf(prefix, sizeof(prefix), "%s.N.", key->name);
        qb_parts_each(part, key) help_line(f, prefix, part);
    }
}
