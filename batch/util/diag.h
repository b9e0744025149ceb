/* Collects the mistakes of a manifest or an option list, and prints them at the end, in the order
 * of the text, with the line and a caret under the place.
 *
 *     fleet.yaml:7:5: error: unknown key "lazy_refcount"; did you mean "lazy_refcounts"?
 *         lazy_refcount: on
 *         ^~~~~~~~~~~~~ */
#ifndef QB_UTIL_DIAG_H
#define QB_UTIL_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/vec.h"

enum qb_mistake {
    QB_M_FILE,      /* the text itself cannot be read */
    QB_M_UTF8,      /* not UTF-8 */
    QB_M_CONTROL,   /* a control character, or a line end that is not LF or CR LF */
    QB_M_SYNTAX,    /* not YAML, or not k=v,k=v */
    QB_M_ALIAS,     /* YAML syntax that manifests do not have: &anchor *alias */
    QB_M_TAG,       /* !tag */
    QB_M_DOCUMENTS, /* more than one document, or none */
    QB_M_TOO_DEEP,  /* nested further than any manifest needs */
    QB_M_TOO_BIG,   /* more text, nodes or keys than any manifest needs */
    QB_M_DUPLICATE_KEY,
    QB_M_UNKNOWN_KEY,
    QB_M_MISPLACED_KEY, /* a key of another section */
    QB_M_NOT_YET,       /* reserved, not supported yet */
    QB_M_MISSING_KEY,
    QB_M_WRONG_TYPE, /* e.g. a list instead of a text */
    QB_M_NO_VALUE,
    QB_M_BAD_VALUE,
    QB_M_NOTHING_TO_DO, /* an entry without a request */
    QB_M_NO_MATCH,      /* a pattern that no file matches */
    QB_M_FOLDER,        /* a directory of a pattern cannot be read */
    QB_M_SAME_FILE,     /* one file reached twice */
    QB_M_MEMORY,
};

/* A place in the text.  Lines and columns count from 1, columns and length are characters; line 0:
 * no place. */
struct qb_place {
    unsigned line, column, length;
};

struct qb_diag {
    enum qb_mistake code;
    struct qb_place at;
    char *text;               /* one clause, no full stop */
    const char *did_you_mean; /* static, or NULL */
    bool is_note;             /* no mistake, and not counted as one */
};

/* The mistakes of one text.  Zero is empty. */
struct qb_diags {
    char *file;   /* name of the text: its path, "<stdin>", "-o" */
    char *source; /* the text; may be NULL */
    size_t source_len;
    bool one_line; /* the text is a word of the command line: no line numbers are printed */
    size_t lost;   /* number of further mistakes, which are not kept */
    size_t notes;  /* of the list */
    QB_VEC(struct qb_diag) list;
};

/* Names the text and takes over `source`, which came from malloc (or is NULL).  -1 when memory is
 * short; the source is taken over all the same. */
int qb_diags_init(struct qb_diags *diags, const char *file, char *source, size_t source_len);
void qb_diags_free(struct qb_diags *diags);

/* The number of mistakes, including those that are not kept. */
size_t qb_diags_count(const struct qb_diags *diags);

/* Adds a mistake and returns -1.  `did_you_mean` is kept as a pointer and may be NULL. */
int qb_diag_add(struct qb_diags *diags, enum qb_mistake code, struct qb_place at,
                const char *did_you_mean, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Makes a note of the last one that was added. */
void qb_diag_is_note(struct qb_diags *diags);

int qb_diag_memory(struct qb_diags *diags);

/* Sorts by place; mistakes at one place stay in the order in which they were found. */
void qb_diags_sort(struct qb_diags *diags);

/* Prints all mistakes.  Control characters of the text are escaped, and the caret is under the
 * place also after tabs and wide characters. */
void qb_diags_render(const struct qb_diags *diags, FILE *f);

#endif
