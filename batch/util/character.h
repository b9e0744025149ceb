/* Characters of UTF-8 text on a terminal: how many columns one takes, and which one harms. */
#ifndef QB_UTIL_CHARACTER_H
#define QB_UTIL_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of the character that begins at s, with its code point in *c; 0 where none does (see
 * qb_text_utf8), with 0 in *c. */
size_t qb_character(const char *s, uint32_t *c);

/* Control characters, and those that are not seen but change how their neighbors are drawn: a name
 * with U+202E reads backwards.  Joiners are among them: some words need them, and two names that
 * differ in one look the same. */
bool qb_character_is_harmful(uint32_t c);

/* Terminal columns, nearly enough to put a caret under it: 0, 1 or 2. */
unsigned qb_character_width(uint32_t c);

#endif
