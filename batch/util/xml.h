/* Escapes text for XML and HTML: the output is well-formed for any bytes. */
#ifndef QB_UTIL_XML_H
#define QB_UTIL_XML_H

#include <stdio.h>

/* Prints s for the inside of an element or a quoted attribute.  Bytes that are not UTF-8, and
 * characters that XML 1.0 does not allow, become U+FFFD. */
void qb_markup_text(FILE *f, const char *s);

/* Like qb_markup_text up to `end`, which lies between two characters of the string. */
void qb_markup_span(FILE *f, const char *s, const char *end);

#endif
