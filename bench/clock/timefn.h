/* Runs one program to its end and measures it. */
#ifndef QB_CLOCK_TIMEFN_H
#define QB_CLOCK_TIMEFN_H

#include <stdint.h>

#include "base/err.h"

struct bench_timed {
    double seconds;      /* from before the start to after the end */
    double user, system; /* of the program and of all it waited for */
    uint64_t max_rss;    /* bytes, of the largest process; never below the bench's own */
    int exit_code;       /* 128 + the signal when one ended it */
};

struct bench_how {
    const char *errors;   /* file that takes what it says on standard error */
    uint64_t open_files;  /* its hard limit; 0: the limit of this process */
    const char *topology; /* for hwloc, in place of the machine's; NULL: that */
};

/* argv[0] is looked for in PATH.  Its standard output goes nowhere.  -1 when it could not be
 * started, or when the bench was asked to stop meanwhile (code cancelled). */
int bench_time(char *const argv[], const struct bench_how *how, struct bench_timed *timed,
               struct qb_err *err);

#endif
