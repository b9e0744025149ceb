/* Runs a command that the user's manifest names, such as policy.extend_command.
 *
 * No shell is involved.  The command has /dev/null as its standard input, none of this process's
 * files, a process group of its own, and no signal ignored or blocked that it would not expect. */
#ifndef QB_HOST_CHILD_H
#define QB_HOST_CHILD_H

#include "io/io.h"

/* What is put in for a name in braces. */
struct qb_child_value {
    const char *name; /* "{step}" */
    const char *text;
};

/* The command's words, a list that ends with NULL: in all but the first one, the program, each of
 * the names is replaced, in one pass.  NULL when memory is short. */
char **qb_child_fill(const struct qb_name_list *command, const struct qb_child_value *values,
                     size_t n);

/* The command's words for one image, a list that ends with NULL: in all but the first one, the
 * program, {path} is replaced by `path` and {bytes} by `bytes`, in one pass, so that neither is
 * looked for in what was put in.  A path that begins with - becomes ./-...  NULL when memory is
 * short. */
char **qb_child_words(const struct qb_name_list *command, const char *path, uint64_t bytes);
void qb_child_words_free(char **words);

/* Runs the command until it ends: 0 if its exit code is 0.  -1 with QB_E_NO_SPACE and what it wrote
 * last, with control characters as \xNN, if not, or if it cannot be run; with QB_E_CANCELLED once
 * qb_io_go_on of `io` says so: then it, and what it started in its group, was sent SIGTERM, and
 * SIGKILL if it did not end within two seconds. */
int qb_child_run(char *const words[], struct qb_io *io, struct qb_err *err);

#endif
