/* Measures one scene: every contender in turn, run by run, so that a disturbance affects both runs
 * of a pair and their ratio stays reliable.  The first contender changes from pair to pair. */
#ifndef QB_MEASURE_BENCHFN_H
#define QB_MEASURE_BENCHFN_H

#include "measure/compare.h"

struct bench_listener {
    void *arg;
    /* Before each run; `run` counts from 0 through warmups and runs.  May be NULL. */
    void (*begins)(void *arg, const struct bench_scene *scene, enum bench_who who, size_t run,
                   size_t of);
};

/* The same work by the same qbatch, with one parameter of its command line changed. */
struct bench_beside {
    bool on;
    enum bench_param param; /* one of bench_command_params */
    uint64_t value;
};

struct bench_plan {
    size_t warmups, runs;
    size_t most_runs; /* pairs are added up to so many until qbatch and the other one are compared;
                         0: `runs` are all */
    struct bench_rule rule; /* of that comparison */
    bool count;             /* instructions, too */
    struct bench_beside beside;
    struct bench_tools tools;
    const struct bench_listener *listener;
};

/* "sandbox=off" */
const char *bench_beside_text(const struct bench_beside *beside, char *buf, size_t size);

/* The limit is the fastest of the bare programs that can do the work, each tried before the pairs.
 * Adds a record for each contender to *records; none when it fails.  A contender whose exit code is
 * not 0 ends the measurement: its output is in the error. */
int bench_run(const struct bench_scene *scene, const struct bench_plan *plan,
              struct bench_workdir *dir, struct bench_records *records, struct qb_err *err);

#endif
