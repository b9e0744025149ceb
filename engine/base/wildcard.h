/* Patterns of names: `*`, `?`, `[...]` and `\` as fnmatch(3) has them, in UTF-8. */
#ifndef QB_BASE_WILDCARD_H
#define QB_BASE_WILDCARD_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the pattern matches all `len` bytes of the name, which may be any.  A byte that is not
 * UTF-8 counts as a character.  The work is at most the product of the two lengths, whatever an
 * image has for a name: fnmatch may need exponential time for a pattern of several `*`. */
bool qb_wildcard_match(const char *pattern, const char *name, size_t len);

#endif
