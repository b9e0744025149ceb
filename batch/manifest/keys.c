#include "manifest/keys.h"

#include <ctype.h>
#include <string.h>

#include "util/text.h"

static const char *const compat_words[] = {"0.10", "v2", "1.1", "v3", NULL};
static const char *const zero_cluster_words[] = {"allocate", "share", "defer", NULL};
static const char *const zero_method_words[] = {"auto", "hole", "falloc", "write", NULL};
static const char *const preallocation_words[] = {"off", "metadata", "falloc", "full", NULL};
static const char *const compression_words[] = {"zlib", "zstd", NULL};

#define LATER(name)
#define KEY(name, kind, bit, field, low, high, words, values, good, help)                          \
    {name,   QB_KIND_##kind, bit, offsetof(struct qb_request, field), low, high, words,            \
     values, good,           help},
const struct qb_key_row qb_keys[] = {
#include "manifest/keys.def"
};
#undef KEY
#undef LATER

const size_t qb_keys_count = sizeof(qb_keys) / sizeof(qb_keys[0]);

static const char *const later_names[] = {
#define KEY(...)
#define LATER(name) #name,
#include "manifest/keys.def"
#undef KEY
#undef LATER
    NULL,
};

const struct qb_key_row *qb_key_find(const char *name)
{
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        size_t len = strlen(key->name);

        if (key->name[len - 1] == '*' ? strncmp(name, key->name, len - 1) == 0
                                      : strcmp(name, key->name) == 0)
            return key;
    }
    return NULL;
}

const char *qb_key_nearest(const char *name)
{
    const char *names[sizeof(qb_keys) / sizeof(qb_keys[0]) + 1];
    size_t n = 0;

    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        if (key->kind != QB_KIND_LATER)
            names[n++] = key->name;
    }
    names[n] = NULL;
    return qb_text_nearest(name, names);
}

bool qb_key_is_later(const char *name)
{
    for (const char *const *later = later_names; *later; later++) {
        if (strcmp(name, *later) == 0)
            return true;
    }
    return false;
}

bool qb_key_takes_none(const struct qb_key_row *key)
{
    return key->kind == QB_KIND_TEXT || key->kind == QB_KIND_NAME;
}

/* ---- setting --------------------------------------------------------------------------------- */

static bool set_compat(const char *text, struct qb_request *rq, struct qb_why *why)
{
    unsigned word;

    if (!qb_scalar_word(text, compat_words, &word, why))
        return false;
    rq->compat = word < 2 ? 2 : 3;
    return true;
}

static bool set_size(const struct qb_key_row *key, const char *text, struct qb_request *rq,
                     struct qb_why *why)
{
    bool is_delta = text[0] == '+';

    if (!qb_scalar_size(text + is_delta, key->low, key->high, &rq->size, why))
        return false;
    rq->size_is_delta = is_delta;
    return true;
}

static bool set_power(const struct qb_key_row *key, const char *text, uint64_t *out,
                      struct qb_why *why)
{
    uint64_t n;

    if (key->kind == QB_KIND_BYTES ? !qb_scalar_size(text, key->low, key->high, &n, why)
                                   : !qb_scalar_number(text, key->low, key->high, &n, why))
        return false;
    if (!qb_is_power_of_two(n))
        return qb_why_not(why, NULL, "is not a power of two");
    *out = n;
    return true;
}

static bool set_text(const struct qb_key_row *key, const char *text, const char **out,
                     struct qb_why *why)
{
    if (strlen(text) > key->high)
        return qb_why_not(why, NULL, "is longer than %llu bytes", (unsigned long long)key->high);
    for (const char *c = text; key->kind == QB_KIND_NAME && *c; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
            return qb_why_not(why, NULL, "is not the name of a format, such as qcow2 or raw");
    }
    *out = text;
    return true;
}

static bool set_word(const struct qb_key_row *key, const char *text, void *field,
                     struct qb_why *why)
{
    unsigned word;

    if (!qb_scalar_word(text, key->words, &word, why))
        return false;
    if (key->kind == QB_KIND_ENUM)
        memcpy(field, &word, sizeof(word));
    else
        memcpy(field, &key->words[word], sizeof(key->words[word]));
    return true;
}

static bool set_field(const struct qb_key_row *key, const char *text, struct qb_request *rq,
                      struct qb_why *why)
{
    void *field = (char *)rq + key->field;

    switch (key->kind) {
    case QB_KIND_COMPAT:
        return set_compat(text, rq, why);
    case QB_KIND_SIZE:
        return set_size(key, text, rq, why);
    case QB_KIND_BYTES:
    case QB_KIND_POW2:
        return set_power(key, text, field, why);
    case QB_KIND_BOOL:
        return qb_scalar_bool(text, field, why);
    case QB_KIND_NAME:
    case QB_KIND_TEXT:
        return set_text(key, text, field, why);
    case QB_KIND_WORD:
    case QB_KIND_ENUM:
        return set_word(key, text, field, why);
    case QB_KIND_LATER:
        break;
    }
    qb_why_not(why, NULL, "is not supported yet");
    why->not_yet = true;
    return false;
}

bool qb_key_set(const struct qb_key_row *key, const char *text, struct qb_request *rq,
                struct qb_why *why)
{
    if (!set_field(key, text, rq, why))
        return false;
    rq->set |= key->bit;
    return true;
}

/* ---- showing --------------------------------------------------------------------------------- */

enum { HELP_COLUMN = 34 };

void qb_keys_help(FILE *f)
{
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        int column = fprintf(f, "  %s=", key->name);

        for (const char *c = key->values; *c; c++) { /* as it is typed: without spaces */
            if (*c != ' ')
                column += fputc(*c, f) != EOF;
        }
        if (column > HELP_COLUMN - 2)
            fputc('\n', f);
        fprintf(f, "%*s%s\n", column > HELP_COLUMN - 2 ? HELP_COLUMN : HELP_COLUMN - column, "",
                key->help);
    }
}

static void put_man_values(const char *values, FILE *f)
{
    char word[64];
    int used;

    for (; sscanf(values, "%63s%n", word, &used) == 1; values += used) {
        if (strcmp(word, "|") == 0)
            fputs(" |", f);
        else if (isupper((unsigned char)word[0]) || strchr(word, '['))
            fprintf(f, " Ar %s", word);
        else
            fprintf(f, " Cm %s", strcmp(word, "''") == 0 ? "\\(aq\\(aq" : word);
    }
}

void qb_keys_man(FILE *f)
{
    fputs(".Bl -tag -width Ds\n", f);
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        fprintf(f, ".It Cm %s :", key->name);
        put_man_values(key->values, f);
        fprintf(f, "\n%c%s.\n", toupper((unsigned char)key->help[0]), key->help + 1);
    }
    fputs(".El\n", f);
}
