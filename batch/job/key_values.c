/* Parses the value of a key by its kind. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "job/keys.h"
#include "util/text.h"

static bool read_size_change(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                             struct qb_why *why)
{
    v->is_marked = text[0] == '+';
    return qb_scalar_size(text + v->is_marked, key->low, key->high, &v->n, why);
}

static bool read_number(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                        struct qb_why *why)
{
    bool is_size = key->kind == QB_KIND_SIZE_POWER,
         is_power = is_size || key->kind == QB_KIND_NUMBER_POWER;

    if (is_size ? !qb_scalar_size(text, key->low, key->high, &v->n, why)
                : !qb_scalar_number(text, key->low, key->high, &v->n, why))
        return false;
    return !is_power || qb_is_power_of_two(v->n) || qb_why_not(why, NULL, "is not a power of two");
}

static bool read_real(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                      struct qb_why *why)
{
    if (key->kind == QB_KIND_PERCENT)
        return qb_scalar_percent(text, &v->real, why);
    if (!qb_scalar_duration(text, &v->real, why))
        return false;
    return key->kind == QB_KIND_DURATION || v->real > 0 ||
           qb_why_not(why, NULL, "is no time at all");
}

static bool read_text(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                      struct qb_why *why)
{
    if (strlen(text) > key->high)
        return qb_why_not(why, NULL, "is longer than %llu bytes", (unsigned long long)key->high);
    if (*text && text[strlen(text) - 1] == '\n') /* of a block: `backing_file: |` */
        return qb_why_not(why, NULL, "ends with a line break; write it in the line of its key");
    if ((key->kind == QB_KIND_NAMES || key->kind == QB_KIND_NAME) && !*text)
        return qb_why_not(why, NULL, "is an empty name");
    v->text = text;
    return true;
}

/* A wrong format in the headers would keep a whole fleet from booting. */
static bool read_format(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                        struct qb_why *why)
{
    v->text = text;
    for (size_t i = 0; key->words[i]; i++)
        if (strcmp(text, key->words[i]) == 0)
            return true;
    return !*text || qb_why_not(why, qb_text_nearest(text, key->words),
                                "is not a format of QEMU, such as qcow2 or raw");
}

static bool read_word(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                      struct qb_why *why)
{
    unsigned word;

    if (!qb_scalar_word(text, key->words, &word, why))
        return false;
    v->n = word;
    v->text = key->words[word];
    return true;
}

static bool read_words(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                       struct qb_why *why)
{
    size_t n = 0;

    while (key->words[n])
        n++;
    if (strcmp(text, "all") == 0)
        v->n = (UINT64_C(1) << n) - 1;
    else if (strcmp(text, "none") != 0 && read_word(key, text, v, why))
        v->n = UINT64_C(1) << v->n;
    else
        return strcmp(text, "none") == 0;
    return true;
}

static bool read_compat(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                        struct qb_why *why)
{
    if (!read_word(key, text, v, why)) {
        why->did_you_mean = text[0] == '1'   ? "1.1" /* 1.10 is nearer to 0.10 */
                            : text[0] == '0' ? "0.10"
                                             : why->did_you_mean;
        return false;
    }
    v->n = v->n < 2 ? 2 : 3;
    return true;
}

static bool read_switch(const char *text, struct qb_key_value *v, struct qb_why *why)
{
    bool on;

    if (!qb_scalar_bool(text, &on, why))
        return false;
    v->n = on;
    return true;
}

/* "5%": the number before the sign. */
static bool read_whole_percent(const char *text, struct qb_key_value *v, struct qb_why *why)
{
    char digits[8];
    size_t len = strlen(text);

    if (len > sizeof(digits))
        return qb_why_not(why, NULL, "is not a percentage");
    memcpy(digits, text, len - 1);
    digits[len - 1] = '\0';
    v->is_marked = true;
    return qb_scalar_number(digits, 0, 100, &v->n, why);
}

static bool read_amount(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                        struct qb_why *why)
{
    if (*text && text[strlen(text) - 1] == '%')
        return read_whole_percent(text, v, why);
    return key->kind != QB_KIND_SIZE_OR_PERCENT
               ? qb_scalar_number(text, key->low, key->high, &v->n, why)
               : qb_scalar_size(text, key->low, key->high, &v->n, why);
}

static bool read_nice(const char *text, struct qb_key_value *v, struct qb_why *why)
{
    bool below = text[0] == '-';

    if (!qb_scalar_number(text + below, 0, UINT64_MAX, &v->n, why))
        return false;
    if (v->n > (below ? 20 : 19))
        return qb_why_not(why, NULL, "is not in the range of -20 to 19");
    v->level = below ? -(int)v->n : (int)v->n;
    return true;
}

static bool read_ionice(const struct qb_key_row *key, const char *text, struct qb_key_value *v,
                        struct qb_why *why)
{
    static const char level_of[] = "best-effort:";
    uint64_t level = 4;

    if (strncmp(text, level_of, strlen(level_of)) == 0) {
        if (!qb_scalar_number(text + strlen(level_of), 0, 7, &level, why))
            return false;
        v->n = QB_IONICE_BEST_EFFORT;
    } else if (!read_word(key, text, v, why)) {
        return false;
    }
    v->level = (int)level;
    return true;
}

/* 22:00-05:00, or any */
static bool read_window(const char *text, struct qb_key_value *v, struct qb_why *why)
{
    static const char sample[] = "00:00-00:00";
    unsigned from, to;

    v->n = 0;
    if (strcmp(text, "any") == 0)
        return true;
    for (size_t i = 0; i < sizeof(sample); i++)
        if (sample[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != sample[i])
            return qb_why_not(why, NULL, "is not HH:MM-HH:MM, such as 22:00-05:00, or any");
    from = (unsigned)(atoi(text) * 60 + atoi(text + 3));
    to = (unsigned)(atoi(text + 6) * 60 + atoi(text + 9));
    if (atoi(text) > 23 || atoi(text + 3) > 59 || atoi(text + 6) > 23 || atoi(text + 9) > 59)
        return qb_why_not(why, NULL, "has a time that no day has");
    if (from == to)
        return qb_why_not(why, NULL, "ends when it begins");
    v->n = qb_window_of(from, to);
    return true;
}

/* 2026-01-31 or 2026-01-31T23:59:59Z: does not depend on the host's time zone. */
static bool read_date(const char *text, struct qb_key_value *v, struct qb_why *why)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm utc = {0};
        const char *end = strptime(text, forms[i], &utc);
        int day = utc.tm_mday;
        time_t at = end && !*end ? timegm(&utc) : -1;

        if (at >= 0 && utc.tm_mday == day) { /* 30 February was normalised to another day */
            v->n = (uint64_t)at;
            return true;
        }
    }
    return qb_why_not(why, NULL, "is not a date like 2026-01-31 or 2026-01-31T23:59:59Z");
}

static bool not_yet(struct qb_why *why)
{
    qb_why_not(why, NULL, "is not supported yet");
    why->not_yet = true;
    return false;
}

bool qb_key_read(const struct qb_key_row *key, const char *text, struct qb_key_value *out,
                 struct qb_why *why)
{
    *out = (struct qb_key_value){0};
    if (qb_key_takes_auto(key->kind) && strcmp(text, "auto") == 0)
        return true;
    switch (key->kind) {
    case QB_KIND_SWITCH:
        return read_switch(text, out, why);
    case QB_KIND_WORD:
    case QB_KIND_WORD_TEXT:
    case QB_KIND_WORD_BOOL:
        return read_word(key, text, out, why);
    case QB_KIND_WORDS:
        return read_words(key, text, out, why);
    case QB_KIND_COMPAT:
        return read_compat(key, text, out, why);
    case QB_KIND_AUTO_SIZE:
    case QB_KIND_SIZE:
        return qb_scalar_size(text, key->low, key->high, &out->n, why);
    case QB_KIND_SIZE_CHANGE:
        return read_size_change(key, text, out, why);
    case QB_KIND_SIZE_POWER:
    case QB_KIND_NUMBER_POWER:
    case QB_KIND_AUTO_NUMBER:
    case QB_KIND_NUMBER:
        return read_number(key, text, out, why);
    case QB_KIND_DURATION:
    case QB_KIND_AUTO_DURATION:
    case QB_KIND_PERCENT:
        return read_real(key, text, out, why);
    case QB_KIND_COUNT_OR_PERCENT:
    case QB_KIND_SIZE_OR_PERCENT:
    case QB_KIND_AMOUNTS:
        return read_amount(key, text, out, why);
    case QB_KIND_NICE:
        return read_nice(text, out, why);
    case QB_KIND_IONICE:
        return read_ionice(key, text, out, why);
    case QB_KIND_WINDOW:
        return read_window(text, out, why);
    case QB_KIND_DATE:
        return read_date(text, out, why);
    case QB_KIND_FORMAT:
        return read_format(key, text, out, why);
    case QB_KIND_TEXT:
    case QB_KIND_NAME:
    case QB_KIND_NAMES:
    case QB_KIND_COMMAND:
        return read_text(key, text, out, why);
    case QB_KIND_MAPPINGS:
        return qb_why_not(why, NULL, "is one value, and %s is a list of mappings: %s.0.%s",
                          key->name, key->name, key->parts[0].name);
    case QB_KIND_GROUP:
        return qb_why_not(why, NULL, "is one value, and %s has several keys: %s.x", key->name,
                          key->name);
    default:
        return not_yet(why);
    }
}
