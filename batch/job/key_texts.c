/* Writes the values of keys as the texts that a manifest would have for them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "job/keys.h"

static uint64_t number_at(const void *field)
{
    uint64_t n;

    memcpy(&n, field, sizeof(n));
    return n;
}

static unsigned word_at(const void *field)
{
    unsigned n;

    memcpy(&n, field, sizeof(n));
    return n;
}

/* 0.5, without zeros at the end: scalars have no exponents. */
static const char *real_text(double real, char out[QB_KEY_TEXT])
{
    size_t len = (size_t)snprintf(out, QB_KEY_TEXT, "%.6f", real);

    while (len && out[len - 1] == '0')
        out[--len] = '\0';
    if (len && out[len - 1] == '.')
        out[len - 1] = '\0';
    return out;
}

static const char *print(char out[QB_KEY_TEXT], uint64_t n, const char *after)
{
    snprintf(out, QB_KEY_TEXT, "%" PRIu64 "%s", n, after);
    return out;
}

static const char *window_text(uint64_t window, char out[QB_KEY_TEXT])
{
    unsigned from = (unsigned)((window - 1) / QB_DAY_MINUTES);
    unsigned to = (unsigned)((window - 1) % QB_DAY_MINUTES);

    if (!window)
        return "any";
    snprintf(out, QB_KEY_TEXT, "%02u:%02u-%02u:%02u", from / 60, from % 60, to / 60, to % 60);
    return out;
}

static const char *size_text(const struct qb_request *rq, char out[QB_KEY_TEXT])
{
    snprintf(out, QB_KEY_TEXT, "%s%" PRIu64, rq->size_is == QB_SIZE_ADDED ? "+" : "", rq->size);
    return out;
}

const char *qb_amount_text(const struct qb_amount *amount, char out[QB_KEY_TEXT])
{
    return print(out, amount->n, amount->is_percent ? "%" : "");
}

static bool amount_differs(const struct qb_amount *a, const struct qb_amount *b)
{
    return a->n != b->n || a->is_percent != b->is_percent || a->is_set != b->is_set;
}

static bool amounts_differ(const struct qb_amounts *a, const struct qb_amounts *b)
{
    for (size_t i = 0; a->n == b->n && i < a->n; i++)
        if (amount_differs(&a->items[i], &b->items[i]))
            return true;
    return a->n != b->n;
}

/* Of kinds that are one number or word. */
static const char *scalar_text(const struct qb_key_row *key, const void *field,
                               char out[QB_KEY_TEXT])
{
    double real;

    switch (key->kind) {
    case QB_KIND_SWITCH:
        return *(const bool *)field != key->inverted ? "on" : "off";
    case QB_KIND_WORD_BOOL:
        return key->words[*(const bool *)field != key->inverted];
    case QB_KIND_WORD:
        return key->words[word_at(field)];
    case QB_KIND_COMPAT:
        return word_at(field) == 2 ? "0.10" : "1.1";
    case QB_KIND_AUTO_NUMBER:
        return word_at(field) ? print(out, word_at(field), "") : "auto";
    case QB_KIND_AUTO_SIZE:
        return number_at(field) ? print(out, number_at(field), "") : "auto";
    case QB_KIND_DURATION:
    case QB_KIND_AUTO_DURATION:
    case QB_KIND_PERCENT:
        memcpy(&real, field, sizeof(real));
        return key->kind == QB_KIND_AUTO_DURATION && real == 0 ? "auto" : real_text(real, out);
    case QB_KIND_COUNT_OR_PERCENT:
    case QB_KIND_SIZE_OR_PERCENT:
        return qb_amount_text(field, out);
    case QB_KIND_WINDOW:
        return window_text(number_at(field), out);
    default:
        return print(out, number_at(field), "");
    }
}

const char *qb_key_text(const struct qb_key_row *key, const void *holder, char out[QB_KEY_TEXT])
{
    const void *field = (const char *)holder + key->field;
    const struct qb_settings *settings = holder;
    const char *text;

    switch (key->kind) {
    case QB_KIND_SIZE_CHANGE:
        return size_text(holder, out);
    case QB_KIND_WORD_TEXT:
    case QB_KIND_FORMAT:
    case QB_KIND_TEXT:
    case QB_KIND_NAME:
        memcpy(&text, field, sizeof(text));
        return text ? text : "";
    case QB_KIND_NICE:
        snprintf(out, QB_KEY_TEXT, "%d", settings->limits.nice);
        return out;
    case QB_KIND_IONICE:
        if (settings->limits.ionice != QB_IONICE_BEST_EFFORT)
            return key->words[settings->limits.ionice];
        snprintf(out, QB_KEY_TEXT, "best-effort:%d", settings->limits.ionice_level);
        return out;
    default:
        return scalar_text(key, field, out);
    }
}

size_t qb_key_texts(const struct qb_key_row *key, const void *holder,
                    const char *words[QB_KEYS_MAX], const char *const **texts)
{
    const void *field = (const char *)holder + key->field;
    const struct qb_name_list *names = field;
    unsigned bits;
    size_t n = 0;

    if (key->kind != QB_KIND_WORDS) {
        *texts = names->items;
        return names->n;
    }
    bits = word_at(field);
    for (unsigned i = 0; key->words[i]; i++)
        if (bits >> i & 1)
            words[n++] = key->words[i];
    if (n == 0)
        words[n++] = "none";
    *texts = words;
    return n;
}

bool qb_key_differs(const struct qb_key_row *key, const void *a, const void *b)
{
    const void *x = (const char *)a + key->field, *y = (const char *)b + key->field;
    const struct qb_settings *p = a, *q = b;

    if (key->kind == QB_KIND_GROUP)
        return false;
    if (key->kind == QB_KIND_COUNT_OR_PERCENT || key->kind == QB_KIND_SIZE_OR_PERCENT)
        return amount_differs(x, y);
    if (key->kind == QB_KIND_AMOUNTS)
        return amounts_differ(x, y);
    if (key->kind == QB_KIND_NICE)
        return p->limits.has_nice != q->limits.has_nice || p->limits.nice != q->limits.nice;
    if (key->kind == QB_KIND_IONICE)
        return p->limits.ionice != q->limits.ionice ||
               p->limits.ionice_level != q->limits.ionice_level;
    return memcmp(x, y, qb_key_field_size(key)) != 0;
}
