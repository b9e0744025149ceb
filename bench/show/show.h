/* Prints for people: progress while it runs, then times, rates and ratios. */
#ifndef QB_SHOW_SHOW_H
#define QB_SHOW_SHOW_H

#include <stdio.h>

#include "measure/benchfn.h"
#include "show/env.h"

/* Draws on standard error, and only if that is a terminal. */
extern const struct bench_listener bench_progress;
void bench_progress_clear(void);

void bench_show_env(const struct bench_env *env, FILE *f);

/* The n records of one scene. */
void bench_show(const struct bench_record *records, size_t n, bool pairs, FILE *f);

/* "4.1 ms", "3.7 s" */
const char *bench_seconds_text(double seconds, char *buf, size_t size);

#endif
