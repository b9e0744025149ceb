/* What is wrong with a manifest or an option list: every mistake, collected as data and printed at
 * the end, in the order of the text, with the line and a caret under the place.
 *
 *     fleet.yaml:7:5: error: unknown key "lazy_refcount"; did you mean "lazy_refcounts"?
 *         lazy_refcount: on
 *         ^~~~~~~~~~~~~
 */
#ifndef QB_UTIL_DIAG_H
#define QB_UTIL_DIAG_H

#include <stddef.h>
#include <stdio.h>

#include "base/vec.h"

enum qb_mistake {
    QB_M_FILE,      /* the text itself cannot be read */
    QB_M_UTF8,      /* not UTF-8 */
    QB_M_CONTROL,   /* a control character, or a line end that is not LF or CR LF */
    QB_M_SYNTAX,    /* not YAML, or not k=v,k=v */
    QB_M_ALIAS,     /* YAML words that a manifest does without: &anchor *alias */
    QB_M_TAG,       /* !tag */
    QB_M_DOCUMENTS, /* more than one document, or none */
    QB_M_TOO_DEEP,  /* nested further than any manifest needs */
    QB_M_TOO_BIG,   /* more text, nodes or keys than any manifest needs */
    QB_M_DUPLICATE_KEY,
    QB_M_UNKNOWN_KEY,
    QB_M_MISPLACED_KEY, /* known, but elsewhere */
    QB_M_NOT_YET,       /* known, and not supported yet */
    QB_M_MISSING_KEY,
    QB_M_WRONG_TYPE, /* a list where a text is wanted, and the like */
    QB_M_NO_VALUE,
    QB_M_BAD_VALUE,
    QB_M_NOTHING_TO_DO, /* an entry that asks for nothing */
    QB_M_NO_MATCH,      /* a pattern that no file matches */
    QB_M_FOLDER,        /* a folder that a pattern must read and cannot */
    QB_M_SAME_FILE,     /* one file reached twice */
    QB_M_MEMORY,
};

/* A place in the text.  Lines and columns count from 1, columns and length are characters; line 0
 * is no place in particular. */
struct qb_place {
    unsigned line, column, length;
};

struct qb_diag {
    enum qb_mistake code;
    struct qb_place at;
    char *text;               /* one clause, no full stop */
    const char *did_you_mean; /* static, or NULL */
};

/* The mistakes of one text.  Zero is empty. */
struct qb_diags {
    char *file;   /* what the text is called: its path, "<stdin>", "-o" */
    char *source; /* the text; may be NULL */
    size_t source_len;
    bool one_line; /* the text is a word of the command line: no line numbers are printed */
    size_t lost;   /* mistakes beyond those that are kept */
    QB_VEC(struct qb_diag) list;
};

/* Names the text and takes over `source`, which came from malloc (or is NULL).  -1 when memory is
 * short; the source is taken over all the same. */
int qb_diags_init(struct qb_diags *diags, const char *file, char *source, size_t source_len);
void qb_diags_free(struct qb_diags *diags);

/* How many mistakes there are, those that were not kept included. */
size_t qb_diags_count(const struct qb_diags *diags);

/* Adds a mistake and returns -1.  `did_you_mean` is kept as a pointer and may be NULL. */
int qb_diag_add(struct qb_diags *diags, enum qb_mistake code, struct qb_place at,
                const char *did_you_mean, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

int qb_diag_memory(struct qb_diags *diags);

/* By place; those at one place stay in the order they were found in. */
void qb_diags_sort(struct qb_diags *diags);

/* Prints all of them.  Nothing in the text can harm the terminal, and the caret stands under the
 * place whatever tabs and wide characters come before it. */
void qb_diags_render(const struct qb_diags *diags, FILE *f);

#endif
