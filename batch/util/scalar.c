#include "util/scalar.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "util/text.h"

enum { FRACTION_MAX = 9, SECONDS_MAX = 366 * 24 * 3600 };

bool qb_why_not(struct qb_why *why, const char *did_you_mean, const char *fmt, ...)
{
    va_list args;

    *why = (struct qb_why){.did_you_mean = did_you_mean};
    va_start(args, fmt);
    vsnprintf(why->text, sizeof(why->text), fmt, args);
    va_end(args);
    return false;
}

bool qb_is_power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

bool qb_scalar_bool(const char *text, bool *out, struct qb_why *why)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", NULL};

    for (unsigned i = 0; words[i]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i & 1;
            return true;
        }
    }
    return qb_why_not(why, qb_text_nearest(text, words), "is neither on nor off");
}

bool qb_scalar_word(const char *text, const char *const *words, unsigned *out, struct qb_why *why)
{
    char list[sizeof(why->text) - 32] = "";
    size_t used = 0;

    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return true;
        }
        if (used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                     i == 0         ? ""
                                     : words[i + 1] ? ", "
                                                    : " or ",
                                     words[i]);
    }
    return qb_why_not(why, qb_text_nearest(text, words), "is not one of %s", list);
}

/* Digits from *p on, which moves past them: false when there are none, with leading zeros, or when
 * the number exceeds 64 bits. */
static bool digits(const char **p, uint64_t *out, struct qb_why *why)
{
    const char *s = *p;
    uint64_t n = 0;

    if (!isdigit((unsigned char)*s))
        return qb_why_not(why, NULL, "is not a number");
    if (s[0] == '0' && isdigit((unsigned char)s[1]))
        return qb_why_not(why, NULL, "has leading zeros (octal or decimal?); leave them out");
    for (; isdigit((unsigned char)*s); s++) {
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
            return qb_why_not(why, NULL, "is too large for 64 bits");
    }
    *p = s;
    *out = n;
    return true;
}

static bool in_limits(uint64_t n, uint64_t low, uint64_t high, struct qb_why *why)
{
    if (n >= low && n <= high)
        return true;
    return qb_why_not(why, NULL, "is not in the range of %llu to %llu", (unsigned long long)low,
                      (unsigned long long)high);
}

bool qb_scalar_number(const char *text, uint64_t low, uint64_t high, uint64_t *out,
                      struct qb_why *why)
{
    uint64_t n;

    if (text[0] == '-' && isdigit((unsigned char)text[1]))
        return qb_why_not(why, NULL, "is negative");
    if (!digits(&text, &n, why))
        return false;
    if (*text)
        return qb_why_not(why, NULL, "is not a whole decimal number");
    if (!in_limits(n, low, high, why))
        return false;
    *out = n;
    return true;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* How many bits a unit shifts by: G, GiB, but not GB, which is 1000^3 to some and 1024^3 to others.
 */
static bool unit_of(const char *unit, unsigned *shift, struct qb_why *why)
{
    static const char letters[] = "KMGTPE";
    const char *at = *unit ? strchr(letters, *unit == 'k' ? 'K' : *unit) : NULL;

    *shift = 0;
    if (*unit == '\0' || strcmp(unit, "B") == 0)
        return true;
    if (at && (unit[1] == '\0' || strcmp(unit + 1, "iB") == 0)) {
        *shift = 10 * (unsigned)(at - letters + 1);
        return true;
    }
    at = strchr(letters, toupper((unsigned char)*unit));
    if (at && (unit[1] == 'b' || unit[1] == 'B') && unit[2] == '\0')
        return qb_why_not(
            why, NULL,
            "is ambiguous: %s may mean powers of 1000 or of 1024; write %c or %ciB for "
            "1024, or the number of bytes",
            unit, *at, *at);
    if (at && (unit[1] == '\0' || strcasecmp(unit + 1, "ib") == 0))
        return qb_why_not(why, NULL, "is not a size; units are capital letters: write %c, not %s",
                          *at, unit);
    if (*unit == ' ' && unit[1] && strchr(letters, toupper((unsigned char)unit[1])) &&
        (!unit[2] || strcasecmp(unit + 2, "b") == 0 || strcasecmp(unit + 2, "ib") == 0))
        return qb_why_not(why, NULL, "is not a size; leave out the blank before the unit");
    if (*unit == ',')
        return qb_why_not(why, NULL, "is not a size; write a point for the comma");
    return qb_why_not(
        why, NULL,
        "is not a size; write bytes, or a number with k, M, G, T, P or E (powers of 1024)");
}

/* 0.`fraction` << shift, which must be whole; `scale` is 10 to the number of its digits.  Long
 * division, a bit at a time, has no intermediate that could overflow. */
static bool fraction_bytes(uint64_t fraction, uint64_t scale, unsigned shift, uint64_t *out)
{
    *out = 0;
    while (shift-- > 0) {
        fraction *= 2;
        if (fraction >= scale) {
            fraction -= scale;
            *out |= UINT64_C(1) << shift;
        }
    }
    return fraction == 0;
}

/* The digits after a point, if there is one. */
static bool read_fraction(const char **p, uint64_t *fraction, uint64_t *scale, struct qb_why *why)
{
    *fraction = 0;
    *scale = 1;
    if (**p != '.')
        return true;
    if (!isdigit((unsigned char)*++*p))
        return qb_why_not(why, NULL, "has no digit behind the point");
    for (unsigned n = 0; isdigit((unsigned char)**p); n++, ++*p) {
        if (n == FRACTION_MAX)
            return qb_why_not(why, NULL, "has more than %d digits behind the point", FRACTION_MAX);
        *fraction = *fraction * 10 + (uint64_t)(**p - '0');
        *scale *= 10;
    }
    return true;
}

bool qb_scalar_size(const char *text, uint64_t low, uint64_t high, uint64_t *out,
                    struct qb_why *why)
{
    uint64_t whole, fraction, scale, rest, bytes;
    char least[QB_TEXT_NUMBER];
    unsigned shift;

    if (text[0] == '-')
        return qb_why_not(why, NULL, "is negative");
    if (text[0] == ' ')
        return qb_why_not(why, NULL, "is not a size; leave out the blank");
    if (!isdigit((unsigned char)text[0]))
        return qb_why_not(why, NULL,
                          "is not a size; write bytes, or a number with k, M, G, T, P or "
                          "E (powers of 1024)");
    if (!digits(&text, &whole, why) || !read_fraction(&text, &fraction, &scale, why) ||
        !unit_of(text, &shift, why))
        return false;
    if (!fraction_bytes(fraction, scale, shift, &rest))
        return qb_why_not(why, NULL, "is not a whole number of bytes");
    if (__builtin_mul_overflow(whole, UINT64_C(1) << shift, &bytes) ||
        __builtin_add_overflow(bytes, rest, &bytes) || bytes > INT64_MAX)
        return qb_why_not(why, NULL, "is too large: a size is less than 8E");
    if (bytes < low && bytes == 0)
        return qb_why_not(why, NULL, "is not a size here: it must be more than 0");
    if (bytes < low)
        return qb_why_not(why, NULL, "is less than %s", qb_text_size(low, least));
    if (!in_limits(bytes, low, high, why))
        return false;
    *out = bytes;
    return true;
}

/* ---- durations and percentages --------------------------------------------------------------- */

/* A number with an optional fraction; *rest is what follows. */
static bool read_real(const char *text, double *out, const char **rest, struct qb_why *why)
{
    uint64_t whole, fraction, scale;

    *out = 0;
    *rest = text;
    if (text[0] == '-')
        return qb_why_not(why, NULL, "is negative");
    if (!digits(&text, &whole, why) || !read_fraction(&text, &fraction, &scale, why))
        return false;
    *out = (double)whole + (double)fraction / (double)scale;
    *rest = text;
    return true;
}

/* "2 hours", "2hrs", "10min": the way to write what is probably meant. */
static bool not_a_unit(const char *text, const char *unit, struct qb_why *why)
{
    static const struct {
        const char *word;
        char letter;
    } words[] = {{"sec", 's'},  {"s", 's'}, {"min", 'm'}, {"m", 'm'},
                 {"hour", 'h'}, {"h", 'h'}, {"day", 'd'}, {"d", 'd'}};
    const char *word = unit + strspn(unit, " ");

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i].word);

        if (strncasecmp(word, words[i].word, len) == 0 && strpbrk(word, "0123456789") == NULL &&
            strncasecmp(word, "month", 5) != 0 && strncasecmp(word, "ms", 2) != 0 &&
            strncasecmp(word, "mil", 3) != 0)
            return qb_why_not(why, NULL, "is not a duration; write %.*s%c", (int)(unit - text),
                              text, words[i].letter);
    }
    return qb_why_not(
        why, NULL,
        "is not a duration; write seconds, or a number with s, m, h or d, such as 0.5, "
        "10m or 12h");
}

bool qb_scalar_duration(const char *text, double *out, struct qb_why *why)
{
    static const struct {
        const char *unit;
        unsigned seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 24 * 3600}};
    const char *unit;
    double n;

    if (!isdigit((unsigned char)text[0]) && text[0] != '-')
        return not_a_unit(text, text + strlen(text), why);
    if (!read_real(text, &n, &unit, why))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].unit) != 0)
            continue;
        if (n * units[i].seconds > SECONDS_MAX)
            return qb_why_not(why, NULL, "is more than a year");
        *out = n * units[i].seconds;
        return true;
    }
    return not_a_unit(text, unit, why);
}

bool qb_scalar_percent(const char *text, double *out, struct qb_why *why)
{
    const char *rest;
    double n;

    if (!read_real(text, &n, &rest, why) || *rest || n > 100)
        return qb_why_not(why, NULL, "is not a percentage from 0 to 100, such as 20 or 12.5");
    *out = n;
    return true;
}
