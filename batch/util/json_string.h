/* Writes strings as JSON has them, as jansson does: quoted, and escaped where they must be. */
#ifndef QB_UTIL_JSON_STRING_H
#define QB_UTIL_JSON_STRING_H

#include <stddef.h>

/* The most bytes that a string takes. */
size_t qb_json_string_room(const char *s);

/* Writes it, without a NUL, and returns where it ends.  A byte that is not UTF-8 becomes U+FFFD. */
char *qb_json_string_text(char *at, const char *s);

#endif
