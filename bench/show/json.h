/* Writes and reads results as JSON, with hyperfine's keys and some more. json.c is the only file
 * that uses jansson. */
#ifndef QB_SHOW_JSON_H
#define QB_SHOW_JSON_H

#include <stdio.h>

#include "show/env.h"
#include "measure/records.h"

/* Replaces the file at `path` atomically; "-" is standard output. */
int bench_json_write(const char *path, const struct bench_env *env,
                     const struct bench_records *records, struct qb_err *err);

/* Reads title, contender, times and ratios of each result; refuses a file that lacks them. */
int bench_json_read(const char *path, struct bench_records *records, struct qb_err *err);

#endif
