/* Bounds POSIX extended regular expressions before they are compiled.  The C library expands
 * repetitions: `(a{1,99}){1,99}` is 9,801 copies of `a`, and takes gigabytes to match. */
#ifndef QB_UTIL_PATTERN_H
#define QB_UTIL_PATTERN_H

#include "util/scalar.h"

enum {
    QB_PATTERN_MAX_BYTES = 1023, /* the longest name that it can match */
    QB_PATTERN_MAX_ATOMS = 512,  /* characters, brackets etc., with repetitions expanded */
};

/* false with the reason in *why: the expression is too long or too large, or has a back-reference,
 * which POSIX extended expressions do not have and which may take exponential time. */
bool qb_pattern_check(const char *expression, struct qb_why *why);

#endif
