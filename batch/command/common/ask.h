/* Asks a person at the terminal. */
#ifndef QB_COMMON_ASK_H
#define QB_COMMON_ASK_H

#include <stdbool.h>

/* Writes the question to standard error and reads a line from standard input, unless one of them is
 * no terminal: then nobody is asked.  Whether the answer is y or yes; `stopped` ends the wait for
 * it, and so does `asker`, a descriptor, when it hangs up (-1: none). */
bool qb_ask(const char *question, int asker, bool (*stopped)(void));

#endif
