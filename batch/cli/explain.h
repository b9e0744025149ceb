/* Explains error codes: what happened, what is untouched, and what to do; and the codes of what a
 * check finds: what it is, what it means for the guest, and what to do. */
#ifndef QB_CLI_EXPLAIN_H
#define QB_CLI_EXPLAIN_H

#include <stdio.h>

#include "qbatch.h"

struct qb_explanation {
    const char *what, *untouched, *todo; /* sentences */
};

/* By enum qb_code; QB_E_NONE has none. */
extern const struct qb_explanation qb_explanations[QB_E_COUNT];

/* A paragraph for the code of that name, wrapped for a terminal; -1 after a message on stderr. */
int qb_explain(FILE *f, const char *name);

void qb_explain_list(FILE *f);    /* all codes, a line each */
void qb_explain_names(FILE *f);   /* all codes, each with a blank after it */
void qb_explain_man(FILE *f);     /* those of errors for qbatch.1, in mdoc */
void qb_explain_defects(FILE *f); /* those of findings, likewise */

#endif
