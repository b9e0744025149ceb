/* Bounds POSIX extended regular expressions before they are compiled.  The C library writes a
 * repetition out: `(a{1,99}){1,99}` is 9,801 copies of `a`, and takes gigabytes to match. */
#ifndef QB_UTIL_PATTERN_H
#define QB_UTIL_PATTERN_H

#include "util/scalar.h"

enum {
    QB_PATTERN_MAX_BYTES = 1023, /* as long as the longest name that it can match */
    QB_PATTERN_MAX_ATOMS = 512,  /* characters, brackets and the like, repetitions written out */
};

/* false with the reason in *why: the expression is too long or too large, or has a back-reference,
 * which POSIX does not give to extended expressions and which may take exponential time. */
bool qb_pattern_check(const char *expression, struct qb_why *why);

#endif
