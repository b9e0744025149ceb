/* Parses the command line and the lines of a suite. */
#ifndef QB_ARGS_ARGS_H
#define QB_ARGS_ARGS_H

#include <stdio.h>

#include "measure/benchfn.h"
#include "measure/compare.h"
#include "scene/scene.h"

/* One case with its lists: bench_grid_size() measurements. */
struct bench_job {
    struct bench_grid grid;
    unsigned long warmups, runs, most_runs;
    bool count;
    struct bench_tools tools;
    struct bench_beside beside;
};

struct bench_args {
    struct {
        struct bench_job *items;
        size_t n, cap;
    } jobs;
    const char *suite, *export_json, *compare, *with, *dir;
    struct bench_rule rule;
    uint64_t max_disk;
    bool keep, quiet, help, version;
    struct bench_tools known; /* qbatch, qemu-img and this program, whether they take part or not */
    char *text;               /* the suite; argument strings of its jobs point into it */
    char beside[4096], self[4096];
};

/* 0, or -1 with what is wrong with them. */
int bench_args_parse(int argc, char **argv, struct bench_args *args, struct qb_err *err);
void bench_args_free(struct bench_args *args);

void bench_args_help(FILE *f);

#endif
