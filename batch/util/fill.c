#include "util/fill.h"

#include <string.h>

static const struct qb_fill *fill_of(const char *word, const struct qb_fill *fills, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(word, fills[i].marker, strlen(fills[i].marker)) == 0)
            return &fills[i];
    return NULL;
}

void qb_fill_print(FILE *f, const char *text, size_t len, const struct qb_fill *fills, size_t n)
{
    const char *line = text, *end = text + len;

    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline ? newline : end) - line), indent = strspn(line, " ");
        const struct qb_fill *fill = fill_of(line + indent, fills, n);

        if (fill)
            fill->put(f, fill->arg, (int)indent);
        else
            fwrite(line, 1, length, f);
        fputs(fill && line[length - 1] == ',' ? ",\n" : "\n", f);
        line += length + 1;
    }
}
