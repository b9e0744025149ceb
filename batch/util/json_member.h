/* The beginning of a member of an object: what json.h's functions have in common.
 *
 * It is inline, for the length of a constant key is then known, and copying it takes a few stores.
 * Lines have more than a hundred members. */
#ifndef QB_UTIL_JSON_MEMBER_H
#define QB_UTIL_JSON_MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* An object under construction, or a list, as text.  Its parent, or writing its line, takes it
 * over. */
struct qb_json {
    char *text;       /* owned: its beginning */
    size_t len, room; /* bytes */
    uint64_t lists;   /* a bit for each bracket that it lacks, the innermost the lowest: a list's */
    bool whole;       /* false: something could not be added */
};

enum { QB_JSON_NUMBER = 24 /* bytes that a number takes at most */ };

/* Makes room for n more bytes, and returns where they go; NULL when memory is short, now or before.
 */
char *qb_json_grow(struct qb_json *o, size_t n);

/* Where n more bytes go; NULL when memory is short, now or before. */
static inline char *qb_json_room(struct qb_json *o, size_t n)
{
    return o->room - o->len >= n ? o->text + o->len : qb_json_grow(o, n);
}

/* Where the next item of a list, or member of an object, goes: behind a comma, if it is not the
 * first.  `n` more bytes have room there.  NULL when memory is short. */
static inline char *qb_json_item(struct qb_json *o, size_t n)
{
    char *at = qb_json_room(o, n + 1);

    if (!at)
        return NULL;
    *at = ',';
    return at + ((at[-1] | 0x20) != '{'); /* [ and { differ in that bit */
}

/* Where the value of a key goes, which takes up to n bytes. */
static inline char *qb_json_member(struct qb_json *o, const char *key, size_t n)
{
    size_t len = strlen(key);
    char *at = qb_json_item(o, len + n + 3);

    if (!at)
        return NULL;
    *at++ = '"';
    memcpy(at, key, len);
    at += len;
    memcpy(at, "\":", 2);
    return at + 2;
}

/* What was added ends there. */
static inline void qb_json_ends(struct qb_json *o, const char *end)
{
    o->len = (size_t)(end - o->text);
}

static inline void qb_json_put(struct qb_json *o, char *at, const char *bytes, size_t n)
{
    if (!at)
        return;
    memcpy(at, bytes, n);
    qb_json_ends(o, at + n);
}

/* Writes a value, and returns where it ends. */
char *qb_json_digits(char *at, uint64_t n);
char *qb_json_hex(char *at, uint64_t n); /* as a string */

#endif
