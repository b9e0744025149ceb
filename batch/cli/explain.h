/* Explains error codes: what happened, what is untouched, and what to do. */
#ifndef QB_CLI_EXPLAIN_H
#define QB_CLI_EXPLAIN_H

#include <stdio.h>

#include "qbatch.h"

struct qb_explanation {
    const char *what, *untouched, *todo; /* sentences */
};

/* By enum qb_code; QB_E_NONE has none. */
extern const struct qb_explanation qb_explanations[QB_E_COUNT];

/* A paragraph for the code, wrapped for a terminal. */
void qb_explain(FILE *f, enum qb_code code);

void qb_explain_list(FILE *f); /* all codes, a line each */
void qb_explain_man(FILE *f);  /* all of it for qbatch.1, in mdoc */

/* The code of that name, or QB_E_NONE after a message on stderr. */
enum qb_code qb_explain_find(const char *name);

#endif
