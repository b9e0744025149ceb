/* Holds the results: a record for each combination of parameters and each contender. */
#ifndef QB_MEASURE_RECORDS_H
#define QB_MEASURE_RECORDS_H

#include "scene/scene.h"
#include "clock/timefn.h"

struct bench_record {
    char title[256]; /* bench_scene_title: the same in another file means the same work */
    char who[32];    /* bench_who_names; of a contender beside it "sandbox=off" */
    char *command;
    size_t n; /* runs, of each array below */
    struct bench_timed *runs;
    double
        *ratios; /* its time by qbatch's in the same pair; NULL: qbatch's own record, or no pair */

    uint64_t instructions; /* of one run with one worker; 0: not counted */

    /* not read back from JSON */
    size_t looks; /* at the pairs, to decide whether more are needed */
    enum bench_case which;
    struct bench_values values;
    uint64_t clusters, guest_bytes, images; /* worked on in one run */
    const char *cooled;
    const char *method;                 /* of the limit; NULL: another contender */
    double trials[BENCH_LIMIT_METHODS]; /* seconds of each method that was tried; 0: not */
};

struct bench_records {
    struct bench_record *items;
    size_t n, cap;
};

/* Seconds of every run; the caller frees.  NULL when memory is short. */
double *bench_record_seconds(const struct bench_record *r);

const struct bench_record *bench_records_find(const struct bench_records *all, const char *title,
                                              const char *who);

/* A new record for n runs, owned by *all; NULL when memory is short. */
struct bench_record *bench_records_add(struct bench_records *all, size_t n);
void bench_records_cut(struct bench_records *all, size_t n); /* frees those from number n on */
void bench_records_free(struct bench_records *all);

#endif
