/* qbatch-bench, the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args/args.h"
#include "measure/benchfn.h"
#include "show/json.h"
#include "show/show.h"
#include "clock/count.h"
#include "clock/stop.h"

enum {
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_SLOWER = 5,
    EXIT_UNDECIDED = 6,
    EXIT_STOPPED = 75,
    SPARE = 1 << 30, /* bytes of disk that are left to others */
};

static int say(const struct qb_err *err, int code)
{
    bench_progress_clear();
    fprintf(stderr, "qbatch-bench: %s\n", err->text);
    return err->code == QB_E_CANCELLED ? EXIT_STOPPED : code;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int enough_disk(const struct bench_args *args, const struct bench_job *job,
                       const struct bench_scene *scene, const struct bench_workdir *dir,
                       struct qb_err *err)
{
    uint64_t room = bench_workdir_free(dir), wanted = scene->disk_bytes;
    char title[256];

    room = room > SPARE ? room - SPARE : 0;
    if (job->tools.path[BENCH_QEMU_IMG])
        wanted += scene->qemu_bytes;
    if (wanted <= args->max_disk && wanted <= room)
        return 0;
    bench_scene_title(scene, title, sizeof(title));
    return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE,
                   "%.200s may take %.1f GiB of disk; %.1f GiB are %s", title,
                   (double)wanted / (1 << 30),
                   (double)(room < args->max_disk ? room : args->max_disk) / (1 << 30),
                   room < args->max_disk ? "free" : "allowed (--max-disk)");
}

static int measure(const struct bench_args *args, const struct bench_job *job, size_t i,
                   struct bench_workdir *dir, struct bench_records *records, struct qb_err *err)
{
    struct bench_values values = bench_grid_at(&job->grid, i);
    struct bench_plan plan = {.warmups = job->warmups,
                              .runs = job->runs,
                              .most_runs = job->most_runs,
                              .rule = args->rule,
                              .count = job->count && bench_can_count(),
                              .beside = job->beside,
                              .tools = job->tools,
                              .listener = &bench_progress};
    struct bench_scene scene;
    size_t before = records->n;

    if (bench_scene_plan(job->grid.which, &values, &scene, err) < 0 ||
        enough_disk(args, job, &scene, dir, err) < 0 ||
        bench_run(&scene, &plan, dir, records, err) < 0)
        return -1;
    bench_progress_clear();
    bench_show(records->items + before, records->n - before, !args->quiet,
               args->export_json && !strcmp(args->export_json, "-") ? stderr : stdout);
    return 0;
}

static int measure_all(const struct bench_args *args, struct bench_workdir *dir,
                       struct bench_records *records, struct qb_err *err)
{
    for (const struct bench_job *job = args->jobs.items; job < args->jobs.items + args->jobs.n;
         job++) {
        for (size_t i = 0; i < bench_grid_size(&job->grid); i++) {
            if (measure(args, job, i, dir, records, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Whoever takes part in any of the jobs. */
static struct bench_tools everyone(const struct bench_args *args)
{
    struct bench_tools all = {{NULL}};

    for (const struct bench_job *job = args->jobs.items; job < args->jobs.items + args->jobs.n;
         job++) {
        for (enum bench_who who = 0; who < BENCH_WHO_COUNT; who++)
            all.path[who] = job->tools.path[who] ? job->tools.path[who] : all.path[who];
    }
    return all;
}

/* What cannot be counted is named. */
static void skip_counting(const struct bench_args *args)
{
    bool wanted = false;

    for (const struct bench_job *job = args->jobs.items; job < args->jobs.items + args->jobs.n;
         job++)
        wanted |= job->count;
    if (wanted && !bench_can_count())
        fprintf(stderr, "skipped: instructions: valgrind is not installed\n");
}

/* What was measured before a failure is exported all the same. */
static int run(const struct bench_args *args, struct bench_records *records, struct qb_err *err)
{
    struct bench_tools tools = everyone(args);
    struct bench_workdir dir;
    struct bench_env env;
    struct qb_err second;
    int r;

    if (bench_workdir_open(args->dir, &dir, err) < 0)
        return -1;
    bench_env_find(dir.path, &tools, &env);
    bench_show_env(&env, stderr);
    skip_counting(args);
    r = measure_all(args, &dir, records, err);
    if (args->keep)
        fprintf(stderr, "kept: %s\n", dir.path);
    bench_workdir_close(&dir, args->keep);
    if (args->export_json && records->n &&
        bench_json_write(args->export_json, &env, records, &second) < 0) {
        if (r == 0)
            *err = second;
        return -1;
    }
    return r;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static int compare_with_file(const struct bench_args *args, const struct bench_records *fresh)
{
    struct bench_records old = {NULL, 0, 0};
    struct qb_err err;
    int slower;

    if (bench_json_read(args->compare, &old, &err) < 0) {
        bench_records_free(&old);
        return say(&err, EXIT_USAGE);
    }
    printf("against %s, by %s:\n", args->compare, args->rule.by ? args->rule.by : "time");
    slower = bench_compare(&old, fresh, &args->rule, stdout);
    bench_records_free(&old);
    return slower < 0 ? EXIT_FAILED : slower ? EXIT_SLOWER : 0;
}

static int compare(const struct bench_args *args, const struct bench_records *fresh)
{
    int slower, undecided;

    if (strcmp(args->compare, bench_who_names[BENCH_OTHER]))
        return compare_with_file(args, fresh);
    printf("against the other qbatch, in pairs; slower is above %.2f:\n", 1 + args->rule.share);
    slower = bench_compare_other(fresh, &args->rule, stdout, &undecided);
    return slower < 0 ? EXIT_FAILED : slower ? EXIT_SLOWER : undecided ? EXIT_UNDECIDED : 0;
}

static int do_it(const struct bench_args *args)
{
    struct bench_records records = {NULL, 0, 0};
    struct qb_err err;
    int code = 0;

    if (args->with && bench_json_read(args->with, &records, &err) < 0)
        code = say(&err, EXIT_USAGE);
    else if (!args->with && run(args, &records, &err) < 0)
        code = say(&err, EXIT_FAILED);
    if (code == 0 && args->compare)
        code = compare(args, &records);
    bench_records_free(&records);
    return code;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    struct qb_err err;
    int code = 0;

    if (argc > 2 && !strcmp(argv[1], BENCH_LIMIT_COMMAND))
        return bench_limit_main(argv + 2);
    if (bench_args_parse(argc, argv, &args, &err) < 0) {
        code = say(&err, EXIT_USAGE);
    } else if (args.help) {
        bench_args_help(stdout);
    } else if (args.version) {
        printf("qbatch-bench %s\n", QB_VERSION);
    } else {
        bench_stop_install();
        code = do_it(&args);
    }
    bench_args_free(&args);
    return code;
}
