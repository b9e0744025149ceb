/* Formats why an image could not be read. */
#ifndef QB_TEXT_FAILURE_H
#define QB_TEXT_FAILURE_H

#include "qbatch.h"

/* A line for standard error, malloc'ed, with the program ("qbatch check"), the path, the code and
 * the text; NULL when memory is short. */
char *qb_failure_line(const char *program, const char *path, const struct qb_failure *failure);

#endif
