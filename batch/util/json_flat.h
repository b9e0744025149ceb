/* Reads an object whose values are texts and integers that need no decoding, as almost all records
 * of a journal are; for json_read.c, which has jansson for others. */
#ifndef QB_UTIL_JSON_FLAT_H
#define QB_UTIL_JSON_FLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QB_FLAT_MEMBERS = 32 };

enum qb_flat_kind { QB_FLAT_TEXT, QB_FLAT_INTEGER, QB_FLAT_TRUE, QB_FLAT_FALSE, QB_FLAT_NULL };

struct qb_flat_member {
    const char *key, *text; /* the text of a TEXT, else NULL */
    int64_t integer;        /* of an INTEGER */
    enum qb_flat_kind kind;
};

struct qb_flat {
    size_t n;
    struct qb_flat_member members[QB_FLAT_MEMBERS];
    char bytes[]; /* of the keys and texts */
};

/* The object, to be freed; NULL where the text is another one, or none, or memory is short: without
 * white space, escapes, real numbers, lists and other objects. */
struct qb_flat *qb_flat_parse(const char *text, size_t len);

/* NULL: it has no such key. */
const struct qb_flat_member *qb_flat_find(const struct qb_flat *flat, const char *key);

#endif
