/* Counts the instructions of a program: a figure of its processor time with little noise. */
#ifndef QB_CLOCK_COUNT_H
#define QB_CLOCK_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Whether valgrind, which counts, is installed. */
bool bench_can_count(void);

/* Runs argv[0], which must be a program and no script, once by `valgrind --tool=callgrind`, which
 * writes to `folder` meanwhile.  The sum over its processes; one that was forked counts what it had
 * in common with its parent, too.  -1 when it fails. */
int bench_count(char *const argv[], const char *folder, uint64_t *instructions, struct qb_err *err);

#endif
