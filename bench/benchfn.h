/* Measures one scene: every contender in turn, run by run, so that what disturbs one disturbs its
 * neighbour in the pair too and the ratio of the two stays honest.  Who begins changes from pair to
 * pair. */
#ifndef QB_BENCH_BENCHFN_H
#define QB_BENCH_BENCHFN_H

#include "bench/records.h"

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

/* Adds a record for each contender to *records; none when it fails.  A contender that exits with
 * anything but 0 ends it: what it said is in the error. */
int bench_run(const struct bench_scene *scene, const struct bench_plan *plan,
              const struct bench_workdir *dir, struct bench_records *records, struct qb_err *err);

#endif
