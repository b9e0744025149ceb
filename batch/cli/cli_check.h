/* What a command line that was taken apart must be like. */
#ifndef QB_CLI_CLI_CHECK_H
#define QB_CLI_CLI_CHECK_H

#include "cli/cli.h"

/* "qbatch amend", and the end of a line on `f` that says where help is; returns -1. */
const char *qb_cli_program(enum qb_command command);
int qb_cli_end_of_complaint(enum qb_command command, FILE *f);

/* That options go together, and that there are operands as the command takes them: 0, or -1 after
 * one line on `errors`. */
int qb_cli_check(const struct qb_cli *cli, FILE *errors);

/* ---- cli_complain.c -------------------------------------------------------------------------- */

/* Both write one line, with a suggestion where there is one, and return -1.  `names`: the long
 * options of the command; `first`: the first word of the command line. */
struct option;
int qb_cli_unknown_option(enum qb_command command, const char *word, const struct option *names,
                          const char *first, FILE *errors);
int qb_cli_bad_argument(const struct qb_cli *cli, enum qb_option option, const char *what,
                        FILE *errors);

#endif
