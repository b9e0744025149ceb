/* Prints a text in which lines that begin with a marker stand for lines that are made. */
#ifndef QB_UTIL_FILL_H
#define QB_UTIL_FILL_H

#include <stdio.h>

struct qb_fill {
    const char *marker; /* what the line begins with after its blanks, such as "\"@keys@\"" */
    /* Prints the lines, without a comma or newline after the last one. */
    void (*put)(FILE *f, const void *arg, int indent);
    const void *arg;
};

/* Prints `len` bytes of lines.  A comma at the end of a marker's line follows the last line of what
 * takes its place. */
void qb_fill_print(FILE *f, const char *text, size_t len, const struct qb_fill *fills, size_t n);

#endif
