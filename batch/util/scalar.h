/* Parses texts into values, with a parser for each kind: the kind is never guessed from the text.
 * There are no octal, hexadecimal or sexagesimal numbers and no separators inside numbers, and no
 * value is rounded or truncated. */
#ifndef QB_UTIL_SCALAR_H
#define QB_UTIL_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a text is not such a value.  Filled on failure, untouched on success. */
struct qb_why {
    char text[200];           /* completes `"text" ...`, e.g. "is not a whole number" */
    const char *did_you_mean; /* static, or NULL */
    bool not_yet;             /* a reserved value, not supported yet */
};

/* false, with the reason in *why. */
bool qb_why_not(struct qb_why *why, const char *did_you_mean, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* on, off, true, false, yes, no; in any case. */
bool qb_scalar_bool(const char *text, bool *out, struct qb_why *why);

/* Decimal digits, without leading zeros, within [low, high]. */
bool qb_scalar_number(const char *text, uint64_t low, uint64_t high, uint64_t *out,
                      struct qb_why *why);

/* Bytes: 4096, 200G, 1.5T, 64KiB.  k K M G T P E and KiB ...  EiB are powers of 1024; a fraction
 * must result in whole bytes. */
bool qb_scalar_size(const char *text, uint64_t low, uint64_t high, uint64_t *out,
                    struct qb_why *why);

/* A duration in seconds: 60, 0.5, 90s, 10m, 12h or 30d, up to a year. */
bool qb_scalar_duration(const char *text, double *out, struct qb_why *why);

/* 0 to 100: 20 or 12.5. */
bool qb_scalar_percent(const char *text, double *out, struct qb_why *why);

/* The index of the word in a NULL-terminated list. */
bool qb_scalar_word(const char *text, const char *const *words, unsigned *out, struct qb_why *why);

bool qb_is_power_of_two(uint64_t n);

#endif
