/* The amend keys: one table (keys.def), read by the manifest, -o, --help, the manual page and a
 * test. */
#ifndef QB_MANIFEST_KEYS_H
#define QB_MANIFEST_KEYS_H

#include <stdio.h>

#include "util/scalar.h"
#include "qbatch.h"

enum qb_key_kind {
    QB_KIND_COMPAT,
    QB_KIND_SIZE,  /* a size, or +size */
    QB_KIND_BYTES, /* a size that is a power of two */
    QB_KIND_POW2,  /* a number that is a power of two */
    QB_KIND_BOOL,
    QB_KIND_NAME,  /* a name of a format; empty for none */
    QB_KIND_TEXT,  /* any text; empty for none */
    QB_KIND_WORD,  /* one of `words`, kept as text */
    QB_KIND_ENUM,  /* one of `words`, kept as its number */
    QB_KIND_LATER, /* known and not supported yet */
};

struct qb_key_row {
    const char *name; /* one that ends with * stands for every name that begins so */
    enum qb_key_kind kind;
    unsigned bit;       /* of qb_request.set; 0: shapes the plan, and asks for nothing by itself */
    size_t field;       /* offset in struct qb_request */
    uint64_t low, high; /* of the number, or of the text's length in bytes */
    const char *const *words;
    const char *values; /* for people */
    const char *good;   /* examples, with | between them */
    const char *help;   /* one line */
};

extern const struct qb_key_row qb_keys[];
extern const size_t qb_keys_count;

const struct qb_key_row *qb_key_find(const char *name);

/* The closest name, or NULL when none is close. */
const char *qb_key_nearest(const char *name);

/* Whether `name` is a key of the manifest that is not supported yet, wherever it stands. */
bool qb_key_is_later(const char *name);

/* Whether the key takes "no value" (null in a manifest), which is the empty text. */
bool qb_key_takes_none(const struct qb_key_row *key);

/* Sets the key from its text.  The request keeps the pointer where the key is a text.  false: *why
 * says what is wrong and the request is as it was. */
bool qb_key_set(const struct qb_key_row *key, const char *text, struct qb_request *rq,
                struct qb_why *why);

/* A line for each key, as `qbatch amend -o help` shows them. */
void qb_keys_help(FILE *f);

/* The same as an mdoc list, for the manual pages. */
void qb_keys_man(FILE *f);

#endif
