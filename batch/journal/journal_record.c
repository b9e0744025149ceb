/* Composing records: text is put together by hand, because a fleet has tens of thousands of them
 * and a tree of objects for each would show in its time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "util/base64.h"
#include "journal/journal.h"
#include "util/text.h"
#include "base/crc32.h"

enum { ROOM_FIRST = 64 << 10 };

static const char hex[] = "0123456789abcdef";

void qb_journal_sum(const char *json, size_t len, char head[QB_JOURNAL_HEAD])
{
    uint32_t sum = qb_crc32(0, json, len);

    for (unsigned i = 0; i < QB_JOURNAL_HEAD - 1; i++)
        head[i] = hex[sum >> (28 - 4 * i) & 15];
    head[QB_JOURNAL_HEAD - 1] = ' ';
}

/* Room for n more bytes and a NUL; NULL when memory is short. */
static char *room(struct qb_journal *j, size_t n)
{
    size_t wanted = j->used + n + 1, size = QB_MAX(j->room, (size_t)ROOM_FIRST);
    char *grown;

    if (j->errnum)
        return NULL;
    while (size < wanted)
        size *= 2;
    if (size > j->room) {
        grown = realloc(j->text, size);
        if (!grown) {
            j->errnum = ENOMEM;
            return NULL;
        }
        j->text = grown;
        j->room = size;
    }
    return j->text + j->used;
}

static void put(struct qb_journal *j, const char *s, size_t n)
{
    char *to = room(j, n);

    if (!to)
        return;
    memcpy(to, s, n);
    j->used += n;
}

static void put_key(struct qb_journal *j, const char *key)
{
    put(j, ",\"", 2);
    put(j, key, strlen(key));
    put(j, "\":", 2);
}

static void begin(struct qb_journal *j, const char *is)
{
    j->record = j->used;
    put(j, "00000000 {\"is\":\"", QB_JOURNAL_HEAD + 7);
    put(j, is, strlen(is));
    put(j, "\"", 1);
    if (!j->tag[0])
        return;
    put_key(j, "of");
    put(j, "\"", 1);
    put(j, j->tag, strlen(j->tag));
    put(j, "\"", 1);
}

void qb_journal_begin(struct qb_journal *j, const char *is)
{
    if (j->used == 0 && j->length > 0) { /* the first of a write */
        begin(j, "synced");
        qb_journal_number(j, "length", j->synced);
        qb_journal_end(j);
    }
    begin(j, is);
}

/* A character that JSON requires to be escaped, or a byte that is not UTF-8 (which becomes U+FFFD).
 */
static void put_escaped(struct qb_journal *j, unsigned char c)
{
    char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    if (c >= 0x80)
        put(j, "\xef\xbf\xbd", 3);
    else if (c == '"' || c == '\\')
        put(j, (char[]){'\\', (char)c}, 2);
    else
        put(j, escape, sizeof(escape));
}

/* Returns whether all of it was UTF-8. */
static bool put_string(struct qb_journal *j, const char *s)
{
    bool whole = true;

    put(j, "\"", 1);
    while (*s) {
        const char *end = s;
        size_t len = 1;

        while (*end && (len = qb_text_utf8(end)) > 0 && (unsigned char)*end >= 0x20 &&
               *end != '"' && *end != '\\')
            end += len;
        put(j, s, (size_t)(end - s));
        if (*end)
            put_escaped(j, (unsigned char)*end++);
        whole &= len > 0;
        s = end;
    }
    put(j, "\"", 1);
    return whole;
}

void qb_journal_text(struct qb_journal *j, const char *key, const char *s)
{
    put_key(j, key);
    put_string(j, s);
}

void qb_journal_path_of(struct qb_journal *j, const char *key, const char *path)
{
    char bytes[64];

    put_key(j, key);
    if (put_string(j, path))
        return;
    snprintf(bytes, sizeof(bytes), "%s_bytes_base64", key);
    qb_journal_bytes(j, bytes, path, strlen(path));
}

void qb_journal_path(struct qb_journal *j, const char *path)
{
    qb_journal_path_of(j, "path", path);
}

void qb_journal_number(struct qb_journal *j, const char *key, uint64_t n)
{
    char digits[20], *first = digits + sizeof(digits);

    do
        *--first = (char)('0' + n % 10);
    while (n /= 10);
    put_key(j, key);
    put(j, first, (size_t)(digits + sizeof(digits) - first));
}

void qb_journal_true(struct qb_journal *j, const char *key, bool b)
{
    if (!b)
        return;
    put_key(j, key);
    put(j, "true", 4);
}

void qb_journal_bytes(struct qb_journal *j, const char *key, const void *bytes, size_t n)
{
    char *to;

    put_key(j, key);
    to = room(j, qb_base64_len(n) + 2);
    if (!to)
        return;
    to[0] = '"';
    qb_base64_write(bytes, n, to + 1);
    to[1 + qb_base64_len(n)] = '"';
    j->used += qb_base64_len(n) + 2;
}

void qb_journal_end(struct qb_journal *j)
{
    const char *json;

    put(j, "}\n", 2);
    if (j->errnum)
        return;
    json = j->text + j->record + QB_JOURNAL_HEAD;
    qb_journal_sum(json, (size_t)(j->text + j->used - 1 - json), j->text + j->record);
}

void qb_journal_fill(char *line, size_t len, const char *tag)
{
    char json[64];
    int n = tag[0] ? snprintf(json, sizeof(json), "{\"is\":\"cut\",\"of\":\"%s\"", tag)
                   : snprintf(json, sizeof(json), "{\"is\":\"cut\"");
    size_t fixed = QB_JOURNAL_HEAD + (size_t)n + 2; /* and "}\n" */

    memset(line, ' ', len - 1);
    line[len - 1] = '\n';
    if (len < fixed)
        return;
    memcpy(line + QB_JOURNAL_HEAD, json, (size_t)n);
    memcpy(line + len - 2, "}\n", 2);
    qb_journal_sum(line + QB_JOURNAL_HEAD, len - QB_JOURNAL_HEAD - 1, line);
}
