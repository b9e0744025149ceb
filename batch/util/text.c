#include "util/text.h"

#include <string.h>
#include <time.h>

#include "base/num.h"
#include "util/character.h"

const char *qb_text_count(uint64_t n, char out[QB_TEXT_NUMBER])
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), o = 0;

    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[o++] = ',';
        out[o++] = digits[i];
    }
    out[o] = '\0';
    return out;
}

const char *qb_text_seconds(double seconds, char out[QB_TEXT_NUMBER])
{
    unsigned long long whole = seconds > 0 ? (unsigned long long)seconds : 0;

    if (seconds < 0.0995)
        snprintf(out, QB_TEXT_NUMBER, "%.1f ms", seconds * 1e3);
    else if (seconds < 60)
        snprintf(out, QB_TEXT_NUMBER, "%.1f s", seconds);
    else if (seconds < 3600)
        snprintf(out, QB_TEXT_NUMBER, "%llu min %02llu s", whole / 60, whole % 60);
    else
        snprintf(out, QB_TEXT_NUMBER, "%llu h %02llu min", whole / 3600, whole / 60 % 60);
    return out;
}

const char *qb_text_time(double seconds, char out[QB_TEXT_NUMBER])
{
    time_t whole = (time_t)seconds;
    struct tm parts;

    if (seconds <= 0 || !gmtime_r(&whole, &parts) ||
        strftime(out, QB_TEXT_NUMBER, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        out[0] = '\0';
    return out;
}

double qb_text_time_read(const char *text)
{
    struct tm parts = {0};
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts) : NULL;

    return end && !*end ? (double)timegm(&parts) : 0;
}

/* The shortest character that may be written with 2, 3 and 4 bytes; anything less is overlong. */
static bool in_range(uint32_t c, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    return c >= least[len] && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
}

size_t qb_text_utf8(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    uint32_t c;

    if (u[0] < 0x80)
        return u[0] != 0;
    if (u[0] < 0xc2 || u[0] > 0xf4)
        return 0;
    c = u[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    return in_range(c, len) ? len : 0;
}

size_t qb_text_columns(const char *s)
{
    size_t columns = 0;
    uint32_t c;

    while (*s) {
        size_t len = qb_character(s, &c);
        bool plain = len > 0 && !qb_character_is_harmful(c);

        columns += plain ? qb_character_width(c) : 4 * QB_MAX(len, 1);
        s += QB_MAX(len, 1);
    }
    return columns;
}

void qb_text_safe(FILE *f, const char *s)
{
    uint32_t c;

    while (*s) {
        size_t len = qb_character(s, &c);

        if (len > 0 && !qb_character_is_harmful(c)) {
            fwrite(s, 1, len, f);
            s += len;
            continue;
        }
        for (size_t i = 0; i < QB_MAX(len, 1); i++)
            fprintf(f, "\\x%02x", (unsigned char)s[i]);
        s += QB_MAX(len, 1);
    }
}

enum { WORD_MAX = 32 };

/* Edits (insert, drop, change, swap of two neighbours) between two words, none of which touches a
 * byte twice; anything longer than WORD_MAX is far away. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];

    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *oldest = before;

        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] =
                QB_MIN(above[j - 1] + (a[i - 1] != b[j - 1]), QB_MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = QB_MIN(row[j], before[j - 2] + 1);
        }
    }
    return row[m];
}

/* How many bytes both begin with. */
static size_t prefix(const char *a, const char *b)
{
    size_t n = 0;

    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

const char *qb_text_nearest(const char *word, const char *const *candidates)
{
    const char *best = NULL;
    size_t len = strlen(word), least = QB_MAX((len + 1) / 3, 1) + 1, same = 0;
    bool either = false; /* another one is as near */

    for (; *candidates; candidates++) {
        size_t d = distance(word, *candidates);

        if (len >= 3 && strncmp(word, *candidates, len) == 0)
            d = 1;
        /* Of those that are as near, the one that begins like it: 1.10 is 1.1, not 0.10. */
        either |= best && d == least;
        if (d < least || (best && d == least && prefix(word, *candidates) > same)) {
            either = false;
            least = d;
            best = *candidates;
            same = prefix(word, best);
        }
    }
    return either && len <= 2 ? NULL : best; /* v4 is neither v2 nor v3 */
}

/* ---- words for a shell -------------------------------------------------------------------------
 */

static bool is_plain(const char *s)
{
    static const char *const plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "%+,-./:=@_";

    return *s && s[strspn(s, plain)] == '\0';
}

/* $'...' holds whatever a name may hold. */
static bool needs_escapes(const char *s)
{
    for (size_t len; *s; s += len) {
        len = qb_text_utf8(s);
        if (len == 0 || (len == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f)))
            return true;
    }
    return false;
}

static void put_escaped(FILE *f, const char *s)
{
    fputs("$'", f);
    while (*s) {
        size_t len = qb_text_utf8(s);
        unsigned char c = (unsigned char)*s;

        if (len > 1)
            fwrite(s, 1, len, f);
        else if (len == 0 || c < 0x20 || c == 0x7f)
            fprintf(f, "\\%03o", c);
        else
            fprintf(f, "%s%c", c == '\'' || c == '\\' ? "\\" : "", c);
        s += len ? len : 1;
    }
    fputc('\'', f);
}

void qb_text_shell(FILE *f, const char *s)
{
    if (is_plain(s)) {
        fputs(s, f);
        return;
    }
    if (needs_escapes(s)) {
        put_escaped(f, s);
        return;
    }
    fputc('\'', f);
    for (; *s; s++)
        if (*s == '\'')
            fputs("'\\''", f);
        else
            fputc(*s, f);
    fputc('\'', f);
}

bool qb_text_is_utf8(const char *s)
{
    for (size_t len; *s; s += len) {
        len = (unsigned char)*s < 0x80 ? 1 : qb_text_utf8(s);
        if (len == 0)
            return false;
    }
    return true;
}
