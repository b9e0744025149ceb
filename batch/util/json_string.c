#include "util/json_string.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "util/text.h"

enum { ESCAPED_MAX = 6 /* bytes that one may become: \u001F */ };

static size_t escape(unsigned char c, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    static const char short_ones[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c < 0x20 ? short_ones[c] : (char)c;

    out[0] = '\\';
    out[1] = letter;
    if (letter)
        return 2;
    memcpy(out + 1, "u00", 3);
    out[4] = digits[c >> 4];
    out[5] = digits[c & 15];
    return ESCAPED_MAX;
}

/* One character from *s, which advances; a byte that is not UTF-8 is replaced. */
static size_t encode(const char **s, char *out)
{
    unsigned char c = (unsigned char)**s;
    size_t len;

    if (c < 0x20 || c == '"' || c == '\\') {
        (*s)++;
        return escape(c, out);
    }
    len = qb_text_utf8(*s);
    memcpy(out, len ? *s : "\xef\xbf\xbd", len ? len : 3);
    *s += len ? len : 1;
    return len ? len : 3;
}

static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* ---- eight bytes at a time ---------------------------------------------------------------------
 */

enum { WORD = sizeof(uint64_t) };
#define EACH_BYTE(c) (0x0101010101010101u * (uint64_t)(c))

/* Has a high bit where a byte of x is 0, and perhaps in bytes above such a one. */
static uint64_t zeros(uint64_t x)
{
    return (x - EACH_BYTE(1)) & ~x & EACH_BYTE(0x80);
}

/* Whether none of the bytes need more than to be copied. */
static bool are_plain(uint64_t x)
{
    uint64_t low = (x - EACH_BYTE(0x20)) & ~x;

    return !(((low | x) & EACH_BYTE(0x80)) | zeros(x ^ EACH_BYTE('"')) |
             zeros(x ^ EACH_BYTE('\\')) | zeros(x ^ EACH_BYTE(0x7f)));
}

/* Copies what begins the string and is plain; returns how many bytes. */
static size_t copy_plain(char *at, const char *s, size_t len)
{
    size_t n = 0;
    uint64_t x;

    for (; n + WORD <= len; n += WORD) {
        memcpy(&x, s + n, WORD);
        if (!are_plain(x))
            break;
        memcpy(at + n, &x, WORD);
    }
    for (; n < len && is_plain(s[n]); n++)
        at[n] = s[n];
    return n;
}

size_t qb_json_string_room(const char *s)
{
    return ESCAPED_MAX * strlen(s) + 2;
}

char *qb_json_string_text(char *at, const char *s)
{
    const char *end = s + strlen(s);

    *at++ = '"';
    while (s < end) {
        size_t n = copy_plain(at, s, (size_t)(end - s));

        s += n;
        at += n;
        if (s < end)
            at += encode(&s, at);
    }
    *at++ = '"';
    return at;
}
