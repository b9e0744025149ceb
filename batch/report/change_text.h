/* Words the changes of an image for people: "size: 1 GiB -> 2 GiB". */
#ifndef QB_REPORT_CHANGE_TEXT_H
#define QB_REPORT_CHANGE_TEXT_H

#include <stdio.h>

#include "job/outcome.h"

/* "compat: 0.10 -> 1.1, size: 1 GiB -> 2 GiB"; nothing for none. */
void qb_changes_print(FILE *f, const struct qb_result *result);

/* A line of what was and a line of what is for each change, behind `indent` blanks. */
void qb_changes_diff(FILE *f, const struct qb_result *result, bool color, int indent);

/* The first of these as a string, "" for none; cut where `size` ends. */
const char *qb_table_changes(const struct qb_result *result, char *out, size_t size);

#endif
