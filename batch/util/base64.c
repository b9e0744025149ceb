#include "util/base64.h"

#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void qb_base64_write(const void *bytes, size_t n, char *out)
{
    const unsigned char *b = bytes;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = 0;

        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (i + k < n ? b[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *out++ = i + k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
    }
}

/* -1: it is none. */
static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four characters; how many bytes it holds, or -1. */
static int read_group(const char *text, unsigned char out[3])
{
    int pad = text[3] != '=' ? 0 : text[2] != '=' ? 1 : 2;
    uint32_t v = 0;

    for (int k = 0; k < 4; k++) {
        int d = k < 4 - pad ? digit(text[k]) : 0;

        if (d < 0)
            return -1;
        v = v << 6 | (uint32_t)d;
    }
    for (int k = 0; k < 3; k++)
        out[k] = (unsigned char)(v >> (16 - 8 * k));
    return 3 - pad;
}

int qb_base64_read(const char *text, void *out, size_t room, size_t *n)
{
    size_t len = strlen(text);
    unsigned char group[3];

    *n = 0;
    if (len % 4)
        return -1;
    for (size_t i = 0; i < len; i += 4) {
        int got = read_group(text + i, group);

        if (got < 0 || (got < 3 && i + 4 < len) || room - *n < (size_t)got)
            return -1;
        memcpy((unsigned char *)out + *n, group, (size_t)got);
        *n += (size_t)got;
    }
    return 0;
}
