/* Declares the options by number, for getopt_long. */
#ifndef QB_ARGS_OPTIONS_H
#define QB_ARGS_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>

#include "scene/params.h"

enum {
    BENCH_OPT_FIRST = 256,
#define OPTION(ID, name, letter, argument, in_suite, help) BENCH_OPT_##ID,
#include "args/options.def"
#undef OPTION
    BENCH_OPT_END,
    BENCH_OPT_PARAM = 512, /* + enum bench_param */
};

enum { BENCH_OPTIONS = BENCH_OPT_END - BENCH_OPT_FIRST - 1 };

/* getopt's tables, of all options or of those that a line of a suite may have. */
struct bench_getopt {
    struct option list[BENCH_OPTIONS + BENCH_PARAM_COUNT + 1];
    char letters[2 * BENCH_OPTIONS + 2];
};

void bench_getopt_make(struct bench_getopt *t, bool suite);

/* What getopt_long gave, a letter turned into its option's number. */
int bench_option_of(int c);

#endif
