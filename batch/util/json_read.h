/* Reads JSON objects.  json_read.c is the only file that uses jansson. */
#ifndef QB_UTIL_JSON_READ_H
#define QB_UTIL_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* An object that was read; NULL: there is none. */
struct qb_parsed {
    void *value;
};

/* Parses an object of `len` bytes, which the caller drops; false when the text is not an object. */
bool qb_json_parse(const char *text, size_t len, struct qb_parsed *out);
void qb_json_drop(struct qb_parsed *o);

/* The value of a key.  A value of another kind counts as missing. */
const char *qb_json_get_text(const struct qb_parsed *o,
                             const char *key); /* lives with o, or NULL */
uint64_t qb_json_get_number(const struct qb_parsed *o, const char *key, uint64_t otherwise);
bool qb_json_get_bool(const struct qb_parsed *o, const char *key);
int64_t qb_json_get_signed(const struct qb_parsed *o, const char *key); /* or 0 */
double qb_json_get_real(const struct qb_parsed *o, const char *key);    /* of any number; or 0 */
bool qb_json_has(const struct qb_parsed *o, const char *key);           /* also with null */

/* The object of a key, which is valid as long as o and is not dropped; without one, an empty
 * object. */
struct qb_parsed qb_json_get_child(const struct qb_parsed *o, const char *key);

/* Calls fn for each text of an object, with its key. */
void qb_json_each_text(const struct qb_parsed *o,
                       void (*fn)(void *arg, const char *key, const char *text), void *arg);

/* Calls fn for each object of the list of a key. */
void qb_json_each_object(const struct qb_parsed *o, const char *key,
                         void (*fn)(void *arg, const struct qb_parsed *item), void *arg);

/* Calls fn for each text of the list of a key; false where the list has something else, or fn
 * returned false. */
bool qb_json_each_item(const struct qb_parsed *o, const char *key,
                       bool (*fn)(void *arg, const char *text), void *arg);

/* How many members an object has, or how long the list of a key is. */
size_t qb_json_count(const struct qb_parsed *o);
size_t qb_json_list_count(const struct qb_parsed *o, const char *key);

/* Exactly n bytes, from base64. */
bool qb_json_get_bytes(const struct qb_parsed *o, const char *key, void *out, size_t n);

/* The path that qb_json_path added, malloc'ed; NULL without one, or when memory is short. */
char *qb_json_get_path(const struct qb_parsed *o);
char *qb_json_get_path_of(const struct qb_parsed *o, const char *key); /* by another key */

/* Writes the object and a newline; 0, or -1 with errno set. */
int qb_parsed_line(FILE *f, const struct qb_parsed *o);

const char *qb_json_version(void); /* of jansson */

#endif
