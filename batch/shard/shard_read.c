/* Which shard a process is: by its option, or by the environment of the engine that started it. */
#include <stdio.h>
#include <string.h>

#include "shard/shard.h"

/* What an engine sets.  A task is its own number among first, first + step ... last. */
struct engine {
    const char *name;
    const char *task, *first, *last, *step; /* first: NULL: tasks are counted from 0 */
    const char *count; /* how many tasks there are, where the engine says so; or NULL */
};

static const struct engine engines[] = {
    {"Slurm", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX",
     "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"},
    {"Kubernetes", "JOB_COMPLETION_INDEX", NULL, NULL, NULL, NULL},
    {"SGE", "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE", NULL},
};

enum { N_ENGINES = sizeof(engines) / sizeof(engines[0]) };

/* SGE says "undefined" where there is no array. */
static const char *value_of(const char *name, qb_environment_fn *get)
{
    const char *value = name && get ? get(name) : NULL;

    return value && *value && strcmp(value, "undefined") != 0 ? value : NULL;
}

static bool read_number(const char *name, qb_environment_fn *get, uint64_t *out, struct qb_why *why)
{
    const char *value = value_of(name, get);
    struct qb_why odd;

    if (!value)
        return qb_why_not(why, NULL, "%s is not in the environment", name);
    if (!qb_scalar_number(value, 0, UINT32_MAX, out, &odd))
        return qb_why_not(why, NULL, "%s is not a number: \"%.40s\"", name, value);
    return true;
}

static bool take(const char *name, uint64_t number, uint64_t of, struct qb_shard *out,
                 struct qb_why *why)
{
    if (of < 1 || of > QB_SHARDS_MAX)
        return qb_why_not(why, NULL, "%s%sthere can be 1 to %d shards", name, *name ? ": " : "",
                          QB_SHARDS_MAX);
    if (number < 1 || number > of)
        return qb_why_not(why, NULL, "%s%sof %llu shards, the number is 1 to %llu", name,
                          *name ? ": " : "", (unsigned long long)of, (unsigned long long)of);
    *out = (struct qb_shard){(unsigned)number, (unsigned)of};
    return true;
}

/* An array with gaps would leave images out. */
static bool check_gaps(const struct engine *e, qb_environment_fn *get, uint64_t of,
                       struct qb_why *why)
{
    uint64_t count;

    if (!value_of(e->count, get))
        return true;
    if (!read_number(e->count, get, &count, why))
        return false;
    return count == of || qb_why_not(why, NULL,
                                     "the array of %s has %llu tasks for %llu numbers: a shard "
                                     "that has no task would be left out; write its number, K/N",
                                     e->name, (unsigned long long)count, (unsigned long long)of);
}

static bool read_array(const struct engine *e, qb_environment_fn *get, uint64_t *number,
                       uint64_t *of, struct qb_why *why)
{
    uint64_t task, first, last, step;

    if (!read_number(e->task, get, &task, why) || !read_number(e->first, get, &first, why) ||
        !read_number(e->last, get, &last, why) || !read_number(e->step, get, &step, why))
        return false;
    if (step == 0 || task < first || task > last || (task - first) % step != 0)
        return qb_why_not(why, NULL, "%s: task %llu is not one of %llu to %llu in steps of %llu",
                          e->name, (unsigned long long)task, (unsigned long long)first,
                          (unsigned long long)last, (unsigned long long)step);
    *number = (task - first) / step + 1;
    *of = (last - first) / step + 1;
    return check_gaps(e, get, *of, why);
}

static const struct engine *find_engine(qb_environment_fn *get, struct qb_why *why)
{
    const struct engine *found = NULL;

    for (size_t i = 0; i < N_ENGINES; i++) {
        if (!value_of(engines[i].task, get))
            continue;
        if (found) {
            qb_why_not(why, NULL, "both %s and %s are in the environment: write K/N", found->task,
                       engines[i].task);
            return NULL;
        }
        found = &engines[i];
    }
    if (!found)
        qb_why_not(why, NULL,
                   "this is no task of an array of Slurm (SLURM_ARRAY_TASK_ID) or SGE "
                   "(SGE_TASK_ID), nor of an indexed job of Kubernetes (JOB_COMPLETION_INDEX)");
    return found;
}

/* `total` is what follows "auto/", 0 for nothing. */
static bool read_auto(uint64_t total, qb_environment_fn *get, struct qb_shard *out,
                      struct qb_why *why)
{
    const struct engine *e = find_engine(get, why);
    uint64_t number, of = total;

    if (!e)
        return false;
    if (!e->first) {
        if (!total)
            return qb_why_not(why, NULL,
                              "%s does not say how many there are: write auto/N, N "
                              "being the job's completions",
                              e->name);
        return read_number(e->task, get, &number, why) && take(e->task, number + 1, of, out, why);
    }
    if (!read_array(e, get, &number, &of, why))
        return false;
    if (total && total != of)
        return qb_why_not(why, NULL, "the array of %s has %llu tasks", e->name,
                          (unsigned long long)of);
    return take(e->name, number, of, out, why);
}

static bool read_total(const char *text, uint64_t *out, struct qb_why *why)
{
    return qb_scalar_number(text, 1, QB_SHARDS_MAX, out, why);
}

bool qb_shard_read(const char *text, qb_environment_fn *get, struct qb_shard *out,
                   struct qb_why *why)
{
    const char *slash = strchr(text, '/');
    uint64_t number, of = 0;
    char first[24];
    struct qb_why odd;

    snprintf(first, sizeof(first), "%.*s", (int)(slash ? slash - text : 23), text);
    if (strcmp(first, "auto") == 0)
        return slash && !read_total(slash + 1, &of, &odd)
                   ? qb_why_not(why, NULL, "auto, or auto/N with N from 1 to %d, is expected",
                                QB_SHARDS_MAX)
                   : read_auto(of, get, out, why);
    if (!slash || !qb_scalar_number(first, 0, UINT32_MAX, &number, &odd) ||
        !qb_scalar_number(slash + 1, 0, UINT32_MAX, &of, &odd))
        return qb_why_not(why, NULL, "K/N, such as 3/16, or auto is expected");
    return take("", number, of, out, why);
}
