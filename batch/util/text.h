/* Words and numbers for people: sizes, counts, durations, and paths that cannot harm a terminal.
 * Nothing here knows of images. */
#ifndef QB_UTIL_TEXT_H
#define QB_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/units.h"

/* "9,950". */
const char *qb_text_count(uint64_t n, char out[QB_TEXT_NUMBER]);

/* "0.8 ms", "1.2 s", "2 min 05 s". */
const char *qb_text_seconds(double seconds, char out[QB_TEXT_NUMBER]);

/* "2026-11-23T11:13:40Z" of seconds since 1970; "" of 0, which stands for an unknown time. */
const char *qb_text_time(double seconds, char out[QB_TEXT_NUMBER]);

/* The seconds of such a text; 0 of anything else, and of NULL. */
double qb_text_time_read(const char *text);

/* The length in bytes of the UTF-8 character that begins at s, or 0 where none does (a stray or
 * overlong byte, a surrogate, the end of the string). */
size_t qb_text_utf8(const char *s);

/* How many terminal columns qb_text_safe would take for s; wide characters count as one. */
size_t qb_text_columns(const char *s);

/* Prints s with control characters and bytes that are not UTF-8 as \xNN, so that a file name cannot
 * move the cursor or break a line. */
void qb_text_safe(FILE *f, const char *s);

/* Prints s as one word for a shell, quoted where it has to be; always on one line. */
void qb_text_shell(FILE *f, const char *s);

/* The candidate closest to `word` (a typo or a beginning), or NULL when none is close.  The list
 * ends with NULL. */
const char *qb_text_nearest(const char *word, const char *const *candidates);

#endif
