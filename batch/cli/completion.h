/* The scripts completion.bash and completion.zsh, put into the program when it is built.  In them
 * @part@ stands for what completion.c makes of the tables. */
#ifndef QB_CLI_COMPLETION_H
#define QB_CLI_COMPLETION_H

#include <stddef.h>

extern const char qb_completion_bash[];
extern const size_t qb_completion_bash_len;
extern const char qb_completion_zsh[];
extern const size_t qb_completion_zsh_len;

#endif
