/* What is wrong with a text that is not YAML, and what to write instead.  The words of a YAML
 * reader name its rules and the place where it stopped; the cause is often a line above. */
#ifndef QB_MANIFEST_SYNTAX_H
#define QB_MANIFEST_SYNTAX_H

#include "util/diag.h"

/* Where reading ended, in the reader's words.  Lines count from 0, columns are characters from 0.
 */
struct qb_syntax {
    const char *text;              /* all of the manifest, without a byte order mark */
    const char *problem;           /* "did not find expected key" */
    const char *context;           /* "while parsing a block mapping", or "" */
    size_t line, column;           /* of the problem */
    size_t from_line, from_column; /* where the context begins */
};

/* Adds the mistake, at its cause as far as that is known; -1. */
int qb_syntax_mistake(struct qb_diags *diags, const struct qb_syntax *s);

#endif
