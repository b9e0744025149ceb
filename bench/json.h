/* Results as JSON: hyperfine's keys, and ours beside them.  The only file that knows jansson. */
#ifndef QB_BENCH_JSON_H
#define QB_BENCH_JSON_H

#include <stdio.h>

#include "bench/env.h"
#include "bench/records.h"

/* Takes the place of the file at `path` at once; "-" is standard output. */
int bench_json_write(const char *path, const struct bench_env *env,
                     const struct bench_records *records, struct qb_err *err);

/* Reads title, contender, times and ratios of each result; refuses a file that lacks them. */
int bench_json_read(const char *path, struct bench_records *records, struct qb_err *err);

#endif
