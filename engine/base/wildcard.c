#include "base/wildcard.h"

#include <stdint.h>
#include <string.h>
#include <wctype.h>

#define NOT_UTF8 0x110000u /* + the byte: above every character */

struct text {
    const char *at, *end;
};

static bool is_at(const struct text *t, char c)
{
    return t->at < t->end && *t->at == c;
}

/* The next character. */
static uint32_t take(struct text *t)
{
    unsigned char first = (unsigned char)*t->at++;
    unsigned more = first < 0x80 ? 0 : first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    uint32_t c = first < 0x80 ? first : first & (0x3fu >> more);

    if (first >= 0x80 && (first < 0xc2 || first > 0xf4 || t->end - t->at < (ptrdiff_t)more))
        return NOT_UTF8 + first;
    for (unsigned i = 0; i < more; i++) {
        if (((unsigned char)t->at[i] & 0xc0) != 0x80)
            return NOT_UTF8 + first;
        c = c << 6 | ((unsigned char)t->at[i] & 0x3f);
    }
    t->at += more;
    return c;
}

/* The next character of a pattern, which `\` makes an ordinary one. */
static uint32_t take_quoted(struct text *p)
{
    if (is_at(p, '\\') && p->end - p->at > 1)
        p->at++;
    return take(p);
}

/* A class such as [:digit:], of ASCII characters.  False where there is none. */
static bool take_class(struct text *p, uint32_t c, bool *found)
{
    const char *name = p->at + 2, *end;
    char word[16];

    if (p->end - p->at < 4 || p->at[0] != '[' || p->at[1] != ':')
        return false;
    end = memchr(name, ':', (size_t)(p->end - name));
    if (!end || p->end - end < 2 || end[1] != ']' || (size_t)(end - name) >= sizeof(word))
        return false;
    memcpy(word, name, (size_t)(end - name));
    word[end - name] = '\0';
    p->at = end + 2;
    *found |= c < 0x80 && wctype(word) && iswctype((wint_t)c, wctype(word));
    return true;
}

/* Whether c is one of those in the bracket expression that begins behind its `[`.  *p moves behind
 * it; *closed is false, and *p stays, where it has no end, and `[` is an ordinary character. */
static bool take_bracket(struct text *p, uint32_t c, bool *closed)
{
    struct text t = *p;
    bool negated = is_at(&t, '!') || is_at(&t, '^'), found = false;
    const char *first;

    t.at += negated;
    first = t.at;
    while (t.at < t.end && (*t.at != ']' || t.at == first)) {
        uint32_t low, high;

        if (take_class(&t, c, &found))
            continue;
        low = high = take_quoted(&t);
        if (t.end - t.at > 1 && t.at[0] == '-' && t.at[1] != ']') {
            t.at++;
            high = take_quoted(&t);
        }
        found |= low <= c && c <= high;
    }
    *closed = t.at < t.end;
    if (*closed)
        p->at = t.at + 1;
    return found != negated;
}

/* Whether the pattern's next element, which is no `*`, matches the name's next character. */
static bool take_one(struct text *p, struct text *n)
{
    uint32_t c = take(n);
    bool closed, found;

    if (is_at(p, '?')) {
        p->at++;
        return true;
    }
    if (is_at(p, '[')) {
        p->at++;
        found = take_bracket(p, c, &closed);
        return closed ? found : c == '[';
    }
    return take_quoted(p) == c;
}

/* A mismatch goes back to the last `*` and lets it take one character more; an earlier one never
 * needs to take more than it did. */
bool qb_wildcard_match(const char *pattern, const char *name, size_t len)
{
    struct text p = {pattern, pattern + strlen(pattern)}, n = {name, name + len};
    struct text after_star = {NULL, NULL}, retry = {NULL, NULL};

    for (;;) {
        if (is_at(&p, '*')) {
            p.at++;
            after_star = p;
            retry = n;
            continue;
        }
        if (n.at == n.end)
            return p.at == p.end;
        if (p.at < p.end && take_one(&p, &n))
            continue;
        if (!after_star.at || retry.at == retry.end)
            return false;
        p = after_star;
        take(&retry);
        n = retry;
    }
}
