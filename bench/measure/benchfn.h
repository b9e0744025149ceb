/* Measures one scene: every contender in turn, run by run, so that a disturbance affects both runs
 * of a pair and their ratio stays reliable.  The first contender changes from pair to pair. */
#ifndef QB_MEASURE_BENCHFN_H
#define QB_MEASURE_BENCHFN_H

#include "measure/records.h"

struct bench_listener {
    void *arg;
    /* Before each run; `run` counts from 0 through warmups and runs.  May be NULL. */
    void (*begins)(void *arg, const struct bench_scene *scene, enum bench_who who, size_t run,
                   size_t of);
};

struct bench_plan {
    size_t warmups, runs;
    struct bench_tools tools;
    const struct bench_listener *listener;
};

/* Adds a record for each contender to *records; none when it fails.  A contender whose exit code is
 * not 0 ends the measurement: its output is in the error. */
int bench_run(const struct bench_scene *scene, const struct bench_plan *plan,
              struct bench_workdir *dir, struct bench_records *records, struct qb_err *err);

#endif
