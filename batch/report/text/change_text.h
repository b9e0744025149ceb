/* Formats the changes of an image for people: "size: 1 GiB -> 2 GiB". */
#ifndef QB_TEXT_CHANGE_TEXT_H
#define QB_TEXT_CHANGE_TEXT_H

#include <stdio.h>

#include "outcome/outcome.h"

/* "compat: 0.10 -> 1.1, size: 1 GiB -> 2 GiB"; nothing for none. */
void qb_changes_print(FILE *f, const struct qb_result *result);

/* Prints the old and the new value of each change on a line each, after `indent` blanks. */
void qb_changes_diff(FILE *f, const struct qb_result *result, bool color, int indent);

/* The text of qb_changes_print as a string, "" for none; truncated to `size`. */
const char *qb_table_changes(const struct qb_result *result, char *out, size_t size);

#endif
