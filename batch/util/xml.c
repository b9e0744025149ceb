#include "util/xml.h"

#include <stdbool.h>
#include <string.h>

#include "util/text.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* A line break in an attribute would be read as a space, so it is written as a number. */
static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    default:
        return NULL;
    }
}

/* Control characters, and U+FFFE and U+FFFF. */
static bool is_allowed(const char *s, size_t len)
{
    const unsigned char *u = (const unsigned char *)s;

    if (len == 1)
        return u[0] >= 0x20 && u[0] != 0x7f;
    if (len == 2)
        return !(u[0] == 0xc2 && u[1] < 0xa0);
    return !(len == 3 && u[0] == 0xef && u[1] == 0xbf && u[2] >= 0xbe);
}

void qb_markup_text(FILE *f, const char *s)
{
    qb_markup_span(f, s, s + strlen(s));
}

void qb_markup_span(FILE *f, const char *s, const char *end)
{
    while (s < end) {
        size_t len = qb_text_utf8(s);
        const char *e = len == 1 ? entity(*s) : NULL;

        if (e)
            fputs(e, f);
        else if (len > 0 && is_allowed(s, len))
            fwrite(s, 1, len, f);
        else
            fputs(REPLACEMENT, f);
        s += len ? len : 1;
    }
}
