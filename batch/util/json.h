/* Writes JSON objects, a line each; json_read.h reads them.
 *
 * Every line is valid JSON for any content of the strings: a byte that is not UTF-8 becomes U+FFFD.
 * A memory shortage is recorded in the object and reported once, when its line is written. */
#ifndef QB_UTIL_JSON_H
#define QB_UTIL_JSON_H

#include <stdio.h>

#include "util/json_member.h"

struct qb_json qb_json_object(void);
struct qb_json qb_json_list(void);

/* One for a line whose length is known roughly. */
struct qb_json qb_json_object_of(size_t bytes);

/* Keys are string constants without characters that JSON escapes; they keep the order in which they
 * are added, each once. */
static inline void qb_json_null(struct qb_json *o, const char *key)
{
    qb_json_put(o, qb_json_member(o, key, 4), "null", 4);
}

static inline void qb_json_bool(struct qb_json *o, const char *key, bool b)
{
    char *at = qb_json_member(o, key, 5);

    if (b)
        qb_json_put(o, at, "true", 4);
    else
        qb_json_put(o, at, "false", 5);
}

/* JSON's integers are signed 64 bits here; larger values (a damaged offset) are "0x...". */
static inline void qb_json_number(struct qb_json *o, const char *key, uint64_t n)
{
    char *at = qb_json_member(o, key, QB_JSON_NUMBER);

    if (!at)
        return;
    if (n < 10) /* most are */
        *at++ = (char)('0' + n);
    else
        at = n <= INT64_MAX ? qb_json_digits(at, n) : qb_json_hex(at, n);
    qb_json_ends(o, at);
}

void qb_json_signed(struct qb_json *o, const char *key, int64_t n);
void qb_json_real(struct qb_json *o, const char *key, double d);
void qb_json_text(struct qb_json *o, const char *key, const char *s);   /* null for NULL and "" */
void qb_json_string(struct qb_json *o, const char *key, const char *s); /* as it is */
void qb_json_label(struct qb_json *o, const char *key,
                   const char *s); /* any key; as qb_json_text */

/* What is added next goes into an object, or a list, that is the value of the key, or the next item
 * of a list, up to qb_json_close.  Up to 63 levels. */
static inline void qb_json_open(struct qb_json *o, const char *key)
{
    o->lists <<= 1; /* the innermost one is in the lowest bit */
    qb_json_put(o, qb_json_member(o, key, 1), "{", 1);
}

static inline void qb_json_open_list(struct qb_json *o, const char *key)
{
    o->lists = o->lists << 1 | 1;
    qb_json_put(o, qb_json_member(o, key, 1), "[", 1);
}

static inline void qb_json_open_item(struct qb_json *list)
{
    list->lists <<= 1;
    qb_json_put(list, qb_json_item(list, 1), "{", 1);
}

static inline void qb_json_close(struct qb_json *o)
{
    qb_json_put(o, qb_json_room(o, 1), o->lists & 1 ? "]" : "}", 1);
    o->lists >>= 1;
}

/* Adds a value that is JSON already. */
void qb_json_as_is(struct qb_json *o, const char *key, const char *value, size_t len);

/* Takes one over that was made elsewhere. */
void qb_json_child(struct qb_json *o, const char *key, struct qb_json child);
void qb_json_append(struct qb_json *list, struct qb_json item);
void qb_json_append_string(struct qb_json *list, const char *s);
void qb_json_append_number(struct qb_json *list, uint64_t n); /* up to INT64_MAX */

/* Adds the path as "path"; if it is not UTF-8, also its exact bytes as "path_bytes_base64". */
void qb_json_path(struct qb_json *o, const char *path);
void qb_json_path_of(struct qb_json *o, const char *key, const char *path);

/* Its line as text, malloc'ed, of *len bytes and a NUL; NULL with errno set. */
char *qb_json_take(struct qb_json o, size_t *len);

/* Writes the object and a newline; 0, or -1 with errno set. */
int qb_json_line(FILE *f, struct qb_json o);

/* A line with a list that is too long for an object: the members of `o`, and the beginning of the
 * list under this key; later, its end, and the members of another object.  Items are written by the
 * caller.  0, or -1 with errno set. */
int qb_json_begin(FILE *f, struct qb_json o, const char *list);
int qb_json_end(FILE *f, struct qb_json o);

#endif
