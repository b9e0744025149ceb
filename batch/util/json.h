/* Writes and reads JSON objects, a line each.  json.c is the only file that uses jansson.
 *
 * Every line is valid JSON for any content of the strings: a byte that is not UTF-8 becomes U+FFFD.
 * A memory shortage is recorded in the object and reported once, when its line is written. */
#ifndef QB_UTIL_JSON_H
#define QB_UTIL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* An object under construction, or a list.  Its parent, or writing its line, takes it over. */
struct qb_json {
    void *value;
    bool whole; /* false: something could not be added */
};

struct qb_json qb_json_object(void);
struct qb_json qb_json_list(void);

/* Keys are string constants and keep their order. */
void qb_json_null(struct qb_json *o, const char *key);
void qb_json_bool(struct qb_json *o, const char *key, bool b);
void qb_json_number(struct qb_json *o, const char *key, uint64_t n); /* "0x..." above INT64_MAX */
void qb_json_signed(struct qb_json *o, const char *key, int64_t n);
void qb_json_real(struct qb_json *o, const char *key, double d);
void qb_json_text(struct qb_json *o, const char *key, const char *s);   /* null for NULL and "" */
void qb_json_string(struct qb_json *o, const char *key, const char *s); /* as it is */
void qb_json_child(struct qb_json *o, const char *key, struct qb_json child);
void qb_json_append(struct qb_json *list, struct qb_json item);
void qb_json_append_string(struct qb_json *list, const char *s);

/* Adds the path as "path"; if it is not UTF-8, also its exact bytes as "path_bytes_base64". */
void qb_json_path(struct qb_json *o, const char *path);
void qb_json_path_of(struct qb_json *o, const char *key, const char *path);

/* Writes the object and a newline; 0, or -1 with errno set. */
int qb_json_line(FILE *f, struct qb_json o);

/* A line with a list that is too long for an object: the members of `o`, and the beginning of the
 * list under this key; later, its end, and the members of another object.  Items are written by the
 * caller.  0, or -1 with errno set. */
int qb_json_begin(FILE *f, struct qb_json o, const char *list);
int qb_json_end(FILE *f, struct qb_json o);

/* ---- reading --------------------------------------------------------------------------------- */

/* Parses an object of `len` bytes, which the caller drops; false when the text is not an object. */
bool qb_json_parse(const char *text, size_t len, struct qb_json *out);
void qb_json_drop(struct qb_json *o);

/* The value of a key.  A value of another kind counts as missing. */
const char *qb_json_get_text(const struct qb_json *o, const char *key); /* lives with o, or NULL */
uint64_t qb_json_get_number(const struct qb_json *o, const char *key, uint64_t otherwise);
bool qb_json_get_bool(const struct qb_json *o, const char *key);
int64_t qb_json_get_signed(const struct qb_json *o, const char *key); /* or 0 */
double qb_json_get_real(const struct qb_json *o, const char *key);    /* of any number; or 0 */
bool qb_json_has(const struct qb_json *o, const char *key);           /* also with null */

/* The object of a key, which is valid as long as o and is not dropped; without one, an empty
 * object. */
struct qb_json qb_json_get_child(const struct qb_json *o, const char *key);

/* Calls fn for each text of an object, with its key. */
void qb_json_each_text(const struct qb_json *o,
                       void (*fn)(void *arg, const char *key, const char *text), void *arg);

/* Exactly n bytes, from base64. */
bool qb_json_get_bytes(const struct qb_json *o, const char *key, void *out, size_t n);

/* The path that qb_json_path added, malloc'ed; NULL without one, or when memory is short. */
char *qb_json_get_path(const struct qb_json *o);
char *qb_json_get_path_of(const struct qb_json *o, const char *key); /* by another key */

const char *qb_json_version(void); /* of jansson */

#endif
