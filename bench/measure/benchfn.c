#include "measure/benchfn.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FILES_RESERVED = 64, /* what qbatch keeps open besides the images of a wave */
    FILES_A_WORKER = 16,
};

struct contender {
    enum bench_who who;
    struct bench_command command;
    struct bench_record record;
};

struct run {
    const struct bench_scene *scene;
    const struct bench_plan *plan;
    struct bench_workdir *dir;
    struct contender contenders[BENCH_WHO_COUNT];
    size_t n;
    const char *cooled;
};

/* ---- one run --------------------------------------------------------------------------------- */

static int complain(const char *errors, const struct bench_command *c,
                    const struct bench_workdir *dir, int code, struct qb_err *err)
{
    int fd = open(errors, O_RDONLY | O_CLOEXEC);
    char said[201] = "", *line = bench_command_line(c, dir);
    ssize_t n = fd < 0 ? 0 : read(fd, said, sizeof(said) - 1);

    if (fd >= 0)
        close(fd);
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "%.120s gave %d: %s", line ? line : "", code, said);
    free(line);
    return -1;
}

/* qbatch sizes its waves by the files it may open. */
static uint64_t open_files(const struct run *r, enum bench_who who)
{
    uint64_t wave = r->scene->values.v[BENCH_WAVE], jobs = r->scene->values.v[BENCH_JOBS];

    if (!wave || (who != BENCH_QBATCH && who != BENCH_OTHER))
        return 0;
    if (!jobs)
        jobs = r->scene->limit.threads;
    return wave + FILES_RESERVED + FILES_A_WORKER * jobs;
}

static int time_one(struct run *r, struct contender *c, struct bench_timed *timed,
                    struct qb_err *err)
{
    char errors[4096];
    struct bench_how how = {.errors = errors, .open_files = open_files(r, c->who)};

    snprintf(errors, sizeof(errors), "%s/errors", r->dir->path);
    if (bench_scene_restore(r->scene, r->dir, &r->plan->tools, &r->cooled, err) < 0 ||
        bench_time(c->command.argv, &how, timed, err) < 0)
        return -1;
    if (timed->exit_code)
        return complain(errors, &c->command, r->dir, timed->exit_code, err);
    return 0;
}

static int one_pair(struct run *r, size_t pair, struct qb_err *err)
{
    size_t warmups = r->plan->warmups, all = warmups + r->plan->runs;
    const struct bench_listener *listener = r->plan->listener;

    for (size_t i = 0; i < r->n; i++) {
        struct contender *c = &r->contenders[(i + pair) % r->n];
        struct bench_timed timed;

        if (listener && listener->begins)
            listener->begins(listener->arg, r->scene, c->who, pair, all);
        if (time_one(r, c, &timed, err) < 0)
            return -1;
        if (pair >= warmups)
            c->record.runs[pair - warmups] = timed;
    }
    return 0;
}

/* ---- all runs -------------------------------------------------------------------------------- */

static int line_up(struct run *r, struct bench_records *records, struct qb_err *err)
{
    for (enum bench_who who = 0; who < BENCH_WHO_COUNT; who++) {
        struct contender *c = &r->contenders[r->n];
        struct bench_record *record;

        if (!r->plan->tools.path[who])
            continue;
        record = bench_records_add(records, r->plan->runs);
        if (!record)
            return qb_fail_memory(err);
        *c = (struct contender){.who = who, .record = *record};
        r->n++;
        if (bench_command_make(r->scene, r->dir, &r->plan->tools, who, &c->command, err) < 0)
            return -1;
    }
    return 0;
}

static void set_ratios(struct bench_record *r, const struct bench_record *ours)
{
    if (!ours || r->runs == ours->runs) {
        free(r->ratios);
        r->ratios = NULL;
        return;
    }
    for (size_t i = 0; i < r->n; i++)
        r->ratios[i] = r->runs[i].seconds / ours->runs[i].seconds;
}

static void fill(const struct run *r, const struct contender *c, const struct contender *ours,
                 struct bench_record *record)
{
    bench_scene_title(r->scene, record->title, sizeof(record->title));
    snprintf(record->who, sizeof(record->who), "%s", bench_who_names[c->who]);
    record->command = bench_command_line(&c->command, r->dir);
    record->which = r->scene->which;
    record->values = r->scene->values;
    record->clusters = r->scene->clusters;
    record->guest_bytes = r->scene->guest_bytes;
    record->images = r->scene->n_images;
    record->cooled = r->cooled;
    set_ratios(record, ours ? &ours->record : NULL);
}

int bench_run(const struct bench_scene *scene, const struct bench_plan *plan,
              struct bench_workdir *dir, struct bench_records *records, struct qb_err *err)
{
    struct run r = {.scene = scene, .plan = plan, .dir = dir, .cooled = "no"};
    size_t before = records->n;
    int failed = line_up(&r, records, err) < 0 || bench_scene_make(scene, dir, err) < 0;

    for (size_t i = 0; !failed && i < plan->warmups + plan->runs; i++)
        failed = one_pair(&r, i, err) < 0;
    bench_scene_end(scene, dir);
    for (size_t i = 0; i < r.n; i++) {
        const struct contender *first = &r.contenders[0];

        if (!failed)
            fill(&r, &r.contenders[i], first->who == BENCH_QBATCH ? first : NULL,
                 &records->items[before + i]);
        bench_command_free(&r.contenders[i].command);
    }
    if (failed)
        bench_records_cut(records, before);
    return failed ? -1 : 0;
}
