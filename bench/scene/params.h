/* Parses the parameters of a measurement: one number each, words as their index in the list. */
#ifndef QB_SCENE_PARAMS_H
#define QB_SCENE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vec.h"

enum bench_param {
#define PARAM(ID, name, kind, words, preset, help) BENCH_##ID,
#include "scene/params.def"
#undef PARAM
    BENCH_PARAM_COUNT
};

enum bench_kind { BENCH_KIND_SIZE, BENCH_KIND_NUMBER, BENCH_KIND_WORD };

struct bench_param_row {
    const char *name; /* as an option: with '-' */
    enum bench_kind kind;
    const char *words; /* "a|b|c", or NULL */
    const char *preset;
    const char *help;
};

extern const struct bench_param_row bench_params[BENCH_PARAM_COUNT];

enum bench_case {
#define CASE(ID, name, params, preset, help) BENCH_CASE_##ID,
#include "scene/cases.def"
#undef CASE
    BENCH_CASE_COUNT
};

struct bench_case_row {
    const char *name;
    uint32_t params; /* bits of enum bench_param */
    const char *preset;
    const char *help;
};

extern const struct bench_case_row bench_cases[BENCH_CASE_COUNT];

enum { BENCH_BETWEEN_DATA, BENCH_BETWEEN_NONE };
enum { BENCH_BACKED, BENCH_UNBACKED };
enum { BENCH_ZERO_AUTO, BENCH_ZERO_HOLE, BENCH_ZERO_FALLOC, BENCH_ZERO_WRITE };
enum { BENCH_ZERO_ALLOCATE, BENCH_ZERO_SHARE, BENCH_ZERO_DEFER };
enum { BENCH_WORK_HEADER, BENCH_WORK_DOWNGRADE };
enum { BENCH_WARM, BENCH_COLD };
enum { BENCH_RECORD_NONE, BENCH_RECORD_JOURNAL, BENCH_RECORD_REPORT };
enum { BENCH_SANDBOX_AUTO, BENCH_SANDBOX_OFF, BENCH_SANDBOX_STRICT };
enum { BENCH_VERIFY_METADATA, BENCH_VERIFY_NONE };

struct bench_values {
    uint64_t v[BENCH_PARAM_COUNT];
};

/* The lists a user gave: each combination is one measurement. */
struct bench_grid {
    enum bench_case which;
    struct {
        uint64_t *items;
        size_t n, cap;
    } lists[BENCH_PARAM_COUNT];
};

/* The parameters that change qbatch's command line alone: not the images, not the manifest. */
extern const uint32_t bench_command_params;

/* BENCH_PARAM_COUNT when there is none of that name. */
enum bench_param bench_param_find(const char *name);

/* BENCH_CASE_COUNT when there is none of that name. */
enum bench_case bench_case_find(const char *name);

/* Every list one value long: the case's own, else the general preset. */
int bench_grid_init(struct bench_grid *grid, enum bench_case which, struct qb_err *err);
void bench_grid_free(struct bench_grid *grid);

/* Replaces the list of one parameter by the values in `text`. */
int bench_grid_set(struct bench_grid *grid, enum bench_param param, const char *text,
                   struct qb_err *err);

/* The value that text is of this parameter. */
int bench_value_read(enum bench_param param, const char *text, uint64_t *value, struct qb_err *err);

/* Combination number i of bench_grid_size(), the last list varying fastest. */
size_t bench_grid_size(const struct bench_grid *grid);
struct bench_values bench_grid_at(const struct bench_grid *grid, size_t i);

/* "8G", "64K", "3", "falloc": what bench_grid_set reads back as the same value. */
const char *bench_value_text(enum bench_param param, uint64_t value, char *buf, size_t size);

#endif
