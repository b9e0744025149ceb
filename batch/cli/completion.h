/* Declares the scripts completion.bash and completion.zsh, embedded in the program when it is
 * built.  In them completion.c replaces @part@ by text from the tables. */
#ifndef QB_CLI_COMPLETION_H
#define QB_CLI_COMPLETION_H

#include <stddef.h>

extern const char qb_completion_bash[];
extern const size_t qb_completion_bash_len;
extern const char qb_completion_zsh[];
extern const size_t qb_completion_zsh_len;

/* What offers values in each shell: a function of completion.bash and completion.zsh. */
struct qb_offer {
    const char *bash, *zsh;
};

#endif
