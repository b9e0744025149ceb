/* The keys of a manifest: one table (keys.def), from which come the parser, `-o`, suggestions, the
 * JSON Schema, the lists of qbatch-manifest(5), completion and --help. */
#ifndef QB_JOB_KEYS_H
#define QB_JOB_KEYS_H

#include <stdio.h>

#include "job/job.h"
#include "util/scalar.h"

enum qb_section {
    QB_SECTION_amend,     /* in an entry of `images`, in `defaults`, with -o and --set */
    QB_SECTION_policy,    /* of `policy` */
    QB_SECTION_limits,    /* of `limits` */
    QB_SECTION_condition, /* of `when`, `expect` and `after` */
};

/* What a key takes, and the type of the member that holds it. */
enum qb_key_kind {
    QB_KIND_SWITCH,           /* on, off: bool */
    QB_KIND_WORD,             /* one of `words`: an enum, by its place among them */
    QB_KIND_WORD_TEXT,        /* one of `words`: const char *, the word */
    QB_KIND_WORD_BOOL,        /* one of two `words`: bool, true for the second */
    QB_KIND_COMPAT,           /* 0.10, v2, 1.1, v3: unsigned, 2 or 3 */
    QB_KIND_SIZE,             /* uint64_t, bytes */
    QB_KIND_SIZE_CHANGE,      /* a size, or +size: qb_request.size */
    QB_KIND_SIZE_POWER,       /* a size that is a power of two: uint64_t, bytes */
    QB_KIND_NUMBER,           /* uint64_t */
    QB_KIND_NUMBER_POWER,     /* a power of two: uint64_t */
    QB_KIND_AUTO_NUMBER,      /* unsigned; 0 for auto */
    QB_KIND_DURATION,         /* double, seconds */
    QB_KIND_PERCENT,          /* double */
    QB_KIND_COUNT_OR_PERCENT, /* struct qb_amount */
    QB_KIND_SIZE_OR_PERCENT,  /* struct qb_amount */
    QB_KIND_NICE,             /* qb_limits.nice */
    QB_KIND_IONICE,           /* qb_limits.ionice */
    QB_KIND_DATE,             /* seconds since 1970; only of a condition */
    QB_KIND_FORMAT,           /* one of `words`, or empty for none: const char * */
    QB_KIND_TEXT,             /* any text; empty for none: const char * */
    QB_KIND_LATER,            /* known and not supported yet */
};

/* How an image has what an amend key changes: a member of struct qb_info. */
enum qb_shown_kind {
    QB_SHOWN_NOT,
    QB_SHOWN_BOOL,   /* bool */
    QB_SHOWN_NUMBER, /* unsigned */
    QB_SHOWN_BYTES,  /* uint64_t */
    QB_SHOWN_TEXT,   /* const char *; NULL or "" for none */
    QB_SHOWN_COMPAT, /* unsigned, 2 or 3 */
};

struct qb_key_row {
    enum qb_section section;
    const char *name; /* one that ends with * stands for every name that begins so */
    enum qb_key_kind kind;
    unsigned bit;       /* of qb_request.set; 0: asks for nothing by itself */
    size_t field;       /* offset of the member: in struct qb_request, or in struct qb_settings */
    bool inverted;      /* SWITCH: the member is true where the key is off */
    uint64_t low, high; /* of the number, or of the text's length in bytes */
    const char *const *words;
    struct {
        enum qb_shown_kind kind;
        size_t field;     /* offset in struct qb_info */
        const char *name; /* in `before` and `after` of reports; NULL: the key's */
    } shown;              /* where the amend changes it: reports list the change */
    const char *values;   /* for people, where the kind does not say it; see qb_key_values */
    const char *standard; /* the default as it would be written; NULL: none */
    const char *good;     /* examples, with | between them */
    const char *help;     /* one line, for --help and the schema */
    const char *text;     /* a paragraph for the manual; `words`, page(1) and [SECTIONS] marked */
    const char *since;    /* version of qbatch that has it first */
};

extern const struct qb_key_row qb_keys[];
extern const size_t qb_keys_count;

/* Loops over the keys of a section that are supported. */
#define qb_keys_each(key, of)                                                                      \
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++)             \
        if (key->section == (of) && key->kind != QB_KIND_LATER)

/* What `policy` and `limits` set, and what every image's request begins as. */
struct qb_settings {
    struct qb_policy policy;
    struct qb_limits limits;
    struct qb_request request;
};

/* The amend key of that name; NULL: none. */
const struct qb_key_row *qb_key_find(const char *name);

/* The key of `policy` or `limits`, or of both when `section` is NULL; NULL: none. */
const struct qb_key_row *qb_setting_find(const char *section, const char *name);

/* The closest name of an amend key, or NULL when none is close. */
const char *qb_key_nearest(const char *name);

enum { QB_KEYS_MAX = 64 }; /* of one section */

/* The names of a section's keys, in a list that ends with NULL; how many. */
size_t qb_key_names(enum qb_section section, const char *names[QB_KEYS_MAX]);

/* Whether the key takes "no value" (null in a manifest), which is the empty text. */
bool qb_key_takes_none(const struct qb_key_row *key);

/* What the key takes, for people: "on | off", "SIZE". */
enum { QB_KEY_VALUES = 160 };
const char *qb_key_values(const struct qb_key_row *key, char out[QB_KEY_VALUES]);

/* "amend", "policy", "limits" or "condition". */
const char *qb_section_name(enum qb_section section);

/* Sets an amend key from its text.  The request keeps the pointer where the key is a text.  false:
 * *why says what is wrong and the request is as it was. */
bool qb_key_set(const struct qb_key_row *key, const char *text, struct qb_request *rq,
                struct qb_why *why);

/* What an amend key is set to: the number or the text; the other one is 0 or NULL. */
void qb_key_get(const struct qb_key_row *key, const struct qb_request *rq, uint64_t *number,
                const char **text);

/* The same as qb_key_set of a key of `policy` or `limits`. */
bool qb_setting_set(const struct qb_key_row *key, const char *text, struct qb_settings *settings,
                    struct qb_why *why);

/* ---- key_values.c ---------------------------------------------------------------------------- */

/* A value as it was read. */
struct qb_key_value {
    uint64_t n; /* number, bytes, place of the word, 0 or 1, version, percent, seconds since 1970 */
    double real;      /* seconds of a duration; percent */
    const char *text; /* of a text: the argument; of a word: the word, static */
    int level;        /* nice value, or the level of the I/O class */
    bool is_marked;   /* +SIZE, or PERCENT% where a number may stand, too */
};

/* Reads the text as the key's kind takes it.  false with the reason in *why. */
bool qb_key_read(const struct qb_key_row *key, const char *text, struct qb_key_value *out,
                 struct qb_why *why);

/* A line for each amend key, as `qbatch amend -o help` shows them. */
void qb_keys_help(FILE *f);

#endif
