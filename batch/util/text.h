/* Formats numbers, times and paths for people; a path cannot harm a terminal.  Nothing here depends
 * on images. */
#ifndef QB_UTIL_TEXT_H
#define QB_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

/* "9,950". */
const char *qb_text_count(uint64_t n, char out[QB_TEXT_NUMBER]);

/* "0.8 ms", "1.2 s", "2 min 05 s". */
const char *qb_text_seconds(double seconds, char out[QB_TEXT_NUMBER]);

/* "2026-11-23T11:13:40Z" of seconds since 1970; "" for 0, an unknown time. */
const char *qb_text_time(double seconds, char out[QB_TEXT_NUMBER]);

/* Parses such a text; 0 for any other text, and for NULL. */
double qb_text_time_read(const char *text);

/* The length in bytes of the UTF-8 character that begins at s, or 0 if none does (a stray or
 * overlong byte, a surrogate, the end of the string). */
size_t qb_text_utf8(const char *s);

/* The terminal columns of s as printed by qb_text_safe; see character.h. */
size_t qb_text_columns(const char *s);

/* Prints s with harmful characters (character.h) and bytes that are not UTF-8 as \xNN, so that a
 * file name cannot move the cursor, break a line, or be read backwards. */
void qb_text_safe(FILE *f, const char *s);

/* Prints s as one word for a shell, quoted if necessary; always on one line. */
void qb_text_shell(FILE *f, const char *s);

/* The candidate closest to `word` (a typo or a beginning), or NULL when none is close.  The list is
 * NULL-terminated. */
const char *qb_text_nearest(const char *word, const char *const *candidates);

/* Whether both are the same text; NULL is "". */
static inline bool qb_text_same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Whether all of it is UTF-8. */
bool qb_text_is_utf8(const char *s);

#endif
