#include "scene/params.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"

#define ON(ID) (1u << BENCH_##ID)
#define COMMON                                                                                     \
    (ON(SIZE) | ON(USED) | ON(CLUSTER_SIZE) | ON(EVERY) | ON(BETWEEN) | ON(BACKING) | ON(CACHE) |  \
     ON(SANDBOX) | ON(NODES) | ON(JOBS) | ON(IO))

const struct bench_param_row bench_params[BENCH_PARAM_COUNT] = {
#define PARAM(ID, name, kind, words, preset, help) {name, BENCH_KIND_##kind, words, preset, help},
#include "scene/params.def"
#undef PARAM
};

const struct bench_case_row bench_cases[BENCH_CASE_COUNT] = {
#define CASE(ID, name, params, preset, help) {#name, COMMON | (params), preset, help},
#include "scene/cases.def"
#undef CASE
};

const uint32_t bench_command_params =
    ON(RECORD) | ON(SANDBOX) | ON(NODES) | ON(JOBS) | ON(WAVE) | ON(IO);

enum bench_param bench_param_find(const char *name)
{
    enum bench_param i = 0;

    while (i < BENCH_PARAM_COUNT && strcmp(bench_params[i].name, name))
        i++;
    return i;
}

enum bench_case bench_case_find(const char *name)
{
    enum bench_case i = 0;

    while (i < BENCH_CASE_COUNT && strcmp(bench_cases[i].name, name))
        i++;
    return i;
}

/* ---- one value ------------------------------------------------------------------------------- */

static const char suffixes[] = "kMGTPE";

static bool read_number(const char *text, bool with_suffix, uint64_t *value)
{
    char *end;
    const char *suffix;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno || !*end)
        return !errno;
    suffix = with_suffix ? strchr(suffixes, *end == 'K' ? 'k' : *end) : NULL;
    if (!suffix || end[1])
        return false;
    for (const char *s = suffixes; s <= suffix; s++) {
        if (__builtin_mul_overflow(*value, 1024, value))
            return false;
    }
    return true;
}

static bool read_word(const char *text, const char *words, uint64_t *value)
{
    size_t length = strlen(text);

    for (*value = 0; words; (*value)++) {
        const char *bar = strchr(words, '|');
        size_t n = bar ? (size_t)(bar - words) : strlen(words);

        if (n == length && !memcmp(words, text, n))
            return true;
        words = bar ? bar + 1 : NULL;
    }
    return false;
}

int bench_value_read(enum bench_param param, const char *text, uint64_t *value, struct qb_err *err)
{
    const struct bench_param_row *row = &bench_params[param];

    if (row->kind == BENCH_KIND_WORD) {
        if (read_word(text, row->words, value))
            return 0;
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--%s is one of %s, not '%s'", row->name,
                       row->words, text);
    }
    if (param == BENCH_USED && !strcmp(text, "all")) {
        *value = UINT64_MAX;
        return 0;
    }
    if (read_number(text, row->kind == BENCH_KIND_SIZE, value))
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--%s: '%s' is not a %s", row->name, text,
                   row->kind == BENCH_KIND_SIZE ? "size" : "number");
}

static const char *word_text(const char *words, uint64_t i, char *buf, size_t size)
{
    while (i--)
        words = strchr(words, '|') + 1;
    snprintf(buf, size, "%.*s", (int)strcspn(words, "|"), words);
    return buf;
}

const char *bench_value_text(enum bench_param param, uint64_t value, char *buf, size_t size)
{
    static const char *const units[] = {"", "K", "M", "G", "T", "P", "E"};
    size_t i = 0;

    if (bench_params[param].kind == BENCH_KIND_WORD)
        return word_text(bench_params[param].words, value, buf, size);
    if (param == BENCH_USED && value == UINT64_MAX) {
        snprintf(buf, size, "all");
        return buf;
    }
    while (bench_params[param].kind == BENCH_KIND_SIZE && value && value % 1024 == 0 && i < 6) {
        value /= 1024;
        i++;
    }
    snprintf(buf, size, "%" PRIu64 "%s", value, units[i]);
    return buf;
}

/* ---- lists and their combinations ------------------------------------------------------------ */

int bench_grid_set(struct bench_grid *grid, enum bench_param param, const char *text,
                   struct qb_err *err)
{
    QB_AUTO(qb_buf) char *copy = strdup(text);
    char *at = copy, *item;

    if (!copy)
        return qb_fail_memory(err);
    grid->lists[param].n = 0;
    while ((item = strsep(&at, ","))) {
        uint64_t value = 0;

        if (bench_value_read(param, item, &value, err) < 0)
            return -1;
        if (!qb_vec_push(&grid->lists[param], value))
            return qb_fail_memory(err);
    }
    return 0;
}

/* "size=1G,used=512K": one value each */
static int set_presets(struct bench_grid *grid, const char *presets, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *copy = strdup(presets);
    char *at = copy, *item;

    if (!copy)
        return qb_fail_memory(err);
    while ((item = strsep(&at, ",")) && *item) {
        char *name = strsep(&item, "=");
        enum bench_param p = bench_param_find(name);

        if (p < BENCH_PARAM_COUNT && bench_grid_set(grid, p, item, err) < 0)
            return -1;
    }
    return 0;
}

int bench_grid_init(struct bench_grid *grid, enum bench_case which, struct qb_err *err)
{
    memset(grid, 0, sizeof(*grid));
    grid->which = which;
    for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++) {
        if (bench_grid_set(grid, p, bench_params[p].preset, err) < 0)
            return -1;
    }
    return set_presets(grid, bench_cases[which].preset, err);
}

void bench_grid_free(struct bench_grid *grid)
{
    for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++)
        qb_vec_free(&grid->lists[p]);
}

size_t bench_grid_size(const struct bench_grid *grid)
{
    size_t n = 1;

    for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++)
        n *= grid->lists[p].n;
    return n;
}

struct bench_values bench_grid_at(const struct bench_grid *grid, size_t i)
{
    struct bench_values values;

    for (enum bench_param p = BENCH_PARAM_COUNT; p-- > 0;) {
        values.v[p] = grid->lists[p].items[i % grid->lists[p].n];
        i /= grid->lists[p].n;
    }
    return values;
}
