/* The parts of the completion scripts that come from the tables; for completion*.c only. */
#ifndef QB_CLI_COMPLETION_PARTS_H
#define QB_CLI_COMPLETION_PARTS_H

#include <stdio.h>

#include "cli/cli.h"
#include "cli/completion.h"

/* The words that a key takes, with blanks between them; nothing where it takes no words. */
void qb_complete_key_words(FILE *f, const struct qb_key_row *key);
void qb_complete_option_words(FILE *f, enum qb_option option);

/* What offers values for the argument of an option, other than words; by its kind. */
extern const struct qb_offer qb_argument_offers[];

void qb_bash_commands(FILE *f);
void qb_bash_keys(FILE *f);
void qb_bash_key_values(FILE *f);
void qb_bash_arguments(FILE *f);
void qb_bash_operands(FILE *f);

void qb_zsh_commands(FILE *f);
void qb_zsh_arguments(FILE *f);
void qb_zsh_keys(FILE *f);

#endif
