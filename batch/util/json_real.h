/* Formats real numbers for JSON: six digits, as printf's %.6g, with a point or an exponent. */
#ifndef QB_UTIL_JSON_REAL_H
#define QB_UTIL_JSON_REAL_H

#include <stddef.h>

enum { QB_JSON_REAL = 32 /* bytes */ };

/* Writes a finite number, without a NUL; returns how many bytes. */
size_t qb_json_real_text(double d, char out[QB_JSON_REAL]);

#endif
