/* Declares the table of manifest keys (keys.def), from which the parser, `-o`, suggestions, the
 * JSON Schema, the lists of qbatch-manifest(5), completion and --help are made. */
#ifndef QB_JOB_KEYS_H
#define QB_JOB_KEYS_H

#include <stdio.h>

#include "job/job.h"
#include "util/scalar.h"

enum qb_section {
    QB_SECTION_amend,     /* in an entry of `images`, in `defaults`, with -o and --set */
    QB_SECTION_policy,    /* of `policy` */
    QB_SECTION_limits,    /* of `limits` */
    QB_SECTION_rollout,   /* of `rollout`; what is in its `gate` is gate.x */
    QB_SECTION_condition, /* of `when`, `expect` and `after` */
};

/* The values that a key takes, and the type of the member that holds it. */
enum qb_key_kind {
    QB_KIND_SWITCH,           /* on, off: bool */
    QB_KIND_WORD,             /* one of `words`: an enum, by its place among them */
    QB_KIND_WORDS,            /* a list of `words`, all or none: unsigned, 1 << place for each */
    QB_KIND_WORD_TEXT,        /* one of `words`: const char *, the word */
    QB_KIND_WORD_BOOL,        /* one of two `words`: bool, true for the second */
    QB_KIND_COMPAT,           /* 0.10, v2, 1.1, v3: unsigned, 2 or 3 */
    QB_KIND_SIZE,             /* uint64_t, bytes */
    QB_KIND_SIZE_CHANGE,      /* a size, or +size: qb_request.size */
    QB_KIND_SIZE_POWER,       /* a size that is a power of two: uint64_t, bytes */
    QB_KIND_NUMBER,           /* uint64_t */
    QB_KIND_NUMBER_POWER,     /* a power of two: uint64_t */
    QB_KIND_AUTO_NUMBER,      /* unsigned; 0 for auto */
    QB_KIND_AUTO_SIZE,        /* uint64_t, bytes; 0 for auto */
    QB_KIND_DURATION,         /* double, seconds */
    QB_KIND_AUTO_DURATION,    /* double, seconds; 0 for auto */
    QB_KIND_PERCENT,          /* double */
    QB_KIND_COUNT_OR_PERCENT, /* struct qb_amount */
    QB_KIND_SIZE_OR_PERCENT,  /* struct qb_amount */
    QB_KIND_AMOUNTS,          /* a list of numbers and percentages: struct qb_amounts */
    QB_KIND_NICE,             /* qb_limits.nice */
    QB_KIND_IONICE,           /* qb_limits.ionice */
    QB_KIND_WINDOW,           /* HH:MM-HH:MM: uint64_t, see qb_window_of */
    QB_KIND_DATE,             /* seconds since 1970; only of a condition */
    QB_KIND_FORMAT,           /* one of `words`, or empty for none: const char * */
    QB_KIND_TEXT,             /* any text; empty for none: const char * */
    QB_KIND_NAME,             /* a text that is not empty: const char * */
    QB_KIND_NAMES,            /* a list of texts, none of them empty: struct qb_name_list */
    QB_KIND_COMMAND,          /* a program and its arguments, a list: struct qb_name_list */
    QB_KIND_MAPPINGS,         /* a list of mappings of `parts`: struct qb_items */
    QB_KIND_GROUP,            /* a mapping of the keys NAME.x, and no member itself */
    QB_KIND_LATER,            /* reserved, not supported yet */
};

/* The type of the property that an amend key changes: a member of struct qb_info. */
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
    const char *name; /* a name that ends with * matches every name with that beginning */
    enum qb_key_kind kind;
    unsigned bit;       /* of qb_request.set; 0: changes nothing by itself */
    size_t field;       /* offset of the member: in struct qb_request, or in struct qb_settings */
    bool inverted;      /* SWITCH: the member is true where the key is off */
    uint64_t low, high; /* of the number, or of the text's length in bytes */
    const char *const *words;
    const struct qb_key_row *parts; /* MAPPINGS: the keys of an item, up to one without a name;
                                       their `field` is an offset in the item */
    size_t item_size;               /* MAPPINGS: bytes */
    bool is_required;               /* of a part: each item has it */
    bool live;                      /* of `limits`: can change while a run is in progress */
    struct {
        enum qb_shown_kind kind;
        size_t field;     /* offset in struct qb_info */
        const char *name; /* in `before` and `after` of reports; NULL: the key's */
    } shown;              /* the property in reports, which list its changes */
    const char
        *values; /* the values for people, if they do not follow from the kind; see qb_key_values */
    const char *standard; /* the default, as in a manifest; NULL: none */
    const char *good;     /* examples, with | between them */
    const char *help;     /* one line, for --help and the schema */
    const char *text;     /* a paragraph for the manual; `words`, page(1) and [SECTIONS] marked */
    const char *since;    /* first version of qbatch with the key */
};

extern const struct qb_key_row qb_keys[];
extern const size_t qb_keys_count;

/* Loops over the keys of a section that are supported.  The sections follow in their order. */
#define qb_keys_each(key, of)                                                                      \
    for (const struct qb_key_row *key = qb_keys;                                                   \
         key < qb_keys + qb_keys_count && key->section <= (of); key++)                             \
        if (key->section == (of) && key->kind != QB_KIND_LATER)

struct qb_key_value;

/* The members that `policy`, `limits` and `rollout` set; `request` is the initial request of every
 * image. */
struct qb_settings {
    struct qb_policy policy;
    struct qb_limits limits;
    struct qb_rollout rollout;
    struct qb_request request;
};

/* The amend key of that name; NULL: none. */
const struct qb_key_row *qb_key_find(const char *name);

/* The key of `policy`, `limits` or `rollout`, or of any when `section` is NULL; NULL: none. */
const struct qb_key_row *qb_setting_find(const char *section, const char *name);

/* The closest name of an amend key, or NULL when none is close. */
const char *qb_key_nearest(const char *name);

enum { QB_KEYS_MAX = 64 }; /* of one section */

/* Fills a NULL-terminated list of the names of a section's keys; returns how many. */
size_t qb_key_names(enum qb_section section, const char *names[QB_KEYS_MAX]);

static inline bool qb_key_takes_auto(enum qb_key_kind kind)
{
    return kind == QB_KIND_AUTO_NUMBER || kind == QB_KIND_AUTO_SIZE ||
           kind == QB_KIND_AUTO_DURATION;
}

/* Of a key in a group, "x" of "bitmaps.x"; of any other key its name. */
const char *qb_key_last_name(const struct qb_key_row *key);

/* ---- key_groups.c ---------------------------------------------------------------------------- */

/* A group is a row of QB_KIND_GROUP and the rows that follow it, whose names are its name, a dot
 * and one more word.  In a manifest the group is a mapping of these words. */

/* Whether the key is one of the group. */
bool qb_key_is_in(const struct qb_key_row *key, const struct qb_key_row *group);

/* Whether the key is one of any group. */
bool qb_key_is_nested(const struct qb_key_row *key);

/* The key of the group with that last name; NULL: none. */
const struct qb_key_row *qb_group_find(const struct qb_key_row *group, const char *name);

/* The names at the top of an entry, groups among them, and the last names of a group's keys: lists
 * that end with NULL; how many. */
size_t qb_key_top_names(const char *names[QB_KEYS_MAX]);
size_t qb_group_names(const struct qb_key_row *group, const char *names[QB_KEYS_MAX]);

/* Takes out of the request what any key of the group has set. */
void qb_group_clear(const struct qb_key_row *group, struct qb_request *rq);

/* Loops over the keys of a group. */
#define qb_group_each(key, group)                                                                  \
    for (const struct qb_key_row *key = (group) + 1;                                               \
         key < qb_keys + qb_keys_count && qb_key_is_in(key, group); key++)

/* The bytes of the member that a key sets. */
size_t qb_key_field_size(const struct qb_key_row *key);

/* Stores a value at its member of the kind's type. */
void qb_key_store(const struct qb_key_row *key, const struct qb_key_value *v, void *member);

/* Whether the key is a list, of texts or of words. */
static inline bool qb_key_is_list(const struct qb_key_row *key)
{
    return key->kind == QB_KIND_NAMES || key->kind == QB_KIND_WORDS;
}

/* Sets a list to these texts, or appends one to them.  Texts and list live as long as the batch.
 * false: *why says what is wrong and the request is as it was. */
bool qb_list_set(const struct qb_key_row *key, const char *const *texts, size_t n,
                 struct qb_batch *batch, struct qb_request *rq, struct qb_why *why);
bool qb_list_add(const struct qb_key_row *key, const char *text, struct qb_batch *batch,
                 struct qb_request *rq, struct qb_why *why);

/* Puts `more` texts behind the first `n` of the list at the key's member of `holder`. */
bool qb_name_list_store(const struct qb_key_row *key, size_t n, const char *const *texts,
                        size_t more, struct qb_batch *batch, void *holder, struct qb_why *why);

/* ---- key_mappings.c -------------------------------------------------------------------------- */

/* The member of a key of QB_KIND_MAPPINGS: all such lists of qbatch.h are laid out like this. */
struct qb_items {
    const void *items;
    size_t n;
};

#define qb_parts_each(part, key)                                                                   \
    for (const struct qb_key_row *part = (key)->parts; part && part->name; part++)

/* The part with that name, or NULL; the names of all, a list that ends with NULL: how many. */
const struct qb_key_row *qb_part_find(const struct qb_key_row *key, const char *name);
size_t qb_part_names(const struct qb_key_row *key, const char *names[QB_KEYS_MAX]);

/* The key and the part of a name like "bitmaps.add.0.name", and the number in it; NULL: it is of
 * none.  *part is NULL where the key has no such part. */
const struct qb_key_row *qb_key_find_dotted(const char *name, size_t *index,
                                            const struct qb_key_row **part);

/* Sets a part of an item from these texts: several are a list, else the last one counts.  `add`: to
 * the list that there is.  Texts live as long as the batch.  false: *why says what is wrong and the
 * item is as it was. */
bool qb_part_set(const struct qb_key_row *part, const char *const *texts, size_t n, bool add,
                 struct qb_batch *batch, void *item, struct qb_why *why);

/* The part that an item must have and has not; NULL: none. */
const struct qb_key_row *qb_part_missing(const struct qb_key_row *key, const void *item);

/* Sets the key to `n` items, which the batch copies.  false when memory is short. */
bool qb_mappings_set(const struct qb_key_row *key, const void *items, size_t n,
                     struct qb_batch *batch, struct qb_request *rq);
struct qb_items qb_mappings_get(const struct qb_key_row *key, const struct qb_request *rq);

/* The value of a part: see qb_key_get. */
void qb_part_get(const struct qb_key_row *part, const void *item, size_t i, uint64_t *number,
                 const char **text);

/* Whether the key accepts null in a manifest, which is the empty text. */
bool qb_key_takes_none(const struct qb_key_row *key);

/* The values that the key takes, for people: "on | off", "SIZE". */
enum { QB_KEY_VALUES = 160 };
const char *qb_key_values(const struct qb_key_row *key, char out[QB_KEY_VALUES]);

/* "amend", "policy", "limits" or "condition". */
const char *qb_section_name(enum qb_section section);

/* Sets an amend key from its text.  The request keeps the pointer where the key is a text.  A list
 * becomes this one text; `batch` keeps the list.  false: *why says what is wrong and the request is
 * unchanged. */
bool qb_key_set(const struct qb_key_row *key, const char *text, struct qb_batch *batch,
                struct qb_request *rq, struct qb_why *why);

/* The value of an amend key: the number or the text; the other one is 0 or NULL.  Of a list, how
 * many texts it has, and the first one. */
void qb_key_get(const struct qb_key_row *key, const struct qb_request *rq, uint64_t *number,
                const char **text);

/* Like qb_key_set, for a key of `policy` or `limits`. */
bool qb_setting_set(const struct qb_key_row *key, const char *text, struct qb_settings *settings,
                    struct qb_why *why);

/* Sets a key of `limits`, whose text is right. */
void qb_limit_set(const struct qb_key_row *key, const char *text, struct qb_limits *limits);

/* ---- key_steps.c ----------------------------------------------------------------------------- */

/* Parses a step of a rollout, after the one `before` it (NULL: the first).  false: *why says what
 * is wrong. */
bool qb_step_read(const struct qb_key_row *key, const char *text, const struct qb_amount *before,
                  struct qb_amount *out, struct qb_why *why);

/* Sets the key to the steps, 1 to QB_STEPS_MAX - 1, which the batch copies.  false when memory is
 * short. */
bool qb_steps_store(const struct qb_amount *steps, size_t n, struct qb_batch *batch,
                    struct qb_amounts *out);

/* The two above, of texts. */
bool qb_steps_set(const struct qb_key_row *key, const char *const *texts, size_t n,
                  struct qb_batch *batch, struct qb_settings *settings, struct qb_why *why);

/* ---- key_texts.c ----------------------------------------------------------------------------- */

enum { QB_KEY_TEXT = 40 };

/* The text that sets a key to the value that it has in `holder`: a request, an item of a list of
 * mappings, or settings.  For keys that are no lists. */
const char *qb_key_text(const struct qb_key_row *key, const void *holder, char out[QB_KEY_TEXT]);

const char *qb_amount_text(const struct qb_amount *amount, char out[QB_KEY_TEXT]);

/* The same of a list of texts or words; returns how many, at *texts. */
size_t qb_key_texts(const struct qb_key_row *key, const void *holder,
                    const char *words[QB_KEYS_MAX], const char *const **texts);

/* Whether two holders have different values of a key. */
bool qb_key_differs(const struct qb_key_row *key, const void *a, const void *b);

/* ---- key_values.c ---------------------------------------------------------------------------- */

/* A parsed value. */
struct qb_key_value {
    uint64_t n; /* number, bytes, index of the word, 0 or 1, version, percent, seconds since 1970 */
    double real;      /* seconds of a duration; percent */
    const char *text; /* of a text: the argument; of a word: the word, static */
    int level;        /* nice value, or the level of the I/O class */
    bool is_marked;   /* +SIZE, or PERCENT% where a number may stand, too */
};

/* Parses the text by the key's kind.  false with the reason in *why. */
bool qb_key_read(const struct qb_key_row *key, const char *text, struct qb_key_value *out,
                 struct qb_why *why);

/* Prints a line for each amend key, for `qbatch amend -o help`. */
void qb_keys_help(FILE *f);

#endif
