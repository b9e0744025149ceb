/* Prints the answer of a check in the terms of `qemu-img check`, so that scripts and people can
 * read both. */
#ifndef QB_TEXT_CHECK_TEXT_H
#define QB_TEXT_CHECK_TEXT_H

#include "record/checked.h"

/* All there is to say of an image that was counted; `named`: below a line with its path. */
void qb_checked_print(FILE *f, const struct qb_checked *checked, bool named);

/* How much of it is allocated, and where it ends. */
void qb_checked_print_numbers(FILE *f, const struct qb_check_result *result);

#endif
