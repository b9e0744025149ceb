#include "measure/benchfn.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "clock/count.h"

enum {
    FILES_RESERVED = 64, /* what qbatch keeps open besides the images of a wave */
    FILES_A_WORKER = 16,
    TRIES = 2,            /* of each method of the limit ... */
    MANY_IMAGES = 200000, /* ... with fewer images than this */
};

struct contender {
    enum bench_who who;
    struct bench_scene
        scene; /* the run's; of the limit with its method, of BESIDE with its value */
    struct bench_command command;
    struct bench_record record;
};

struct run {
    const struct bench_scene *scene;
    const struct bench_plan *plan;
    struct bench_workdir *dir;
    struct contender contenders[BENCH_WHO_COUNT];
    size_t n;
    size_t runs, most_runs; /* pairs that are to be made, and may be made */
    const char *cooled;
};

const char *bench_beside_text(const struct bench_beside *beside, char *buf, size_t size)
{
    char value[32];

    snprintf(buf, size, "%s=%s", bench_params[beside->param].name,
             bench_value_text(beside->param, beside->value, value, sizeof(value)));
    return buf;
}

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

static bool is_qbatch(const struct contender *c)
{
    return c->who <= BENCH_BESIDE;
}

/* qbatch sizes its waves by the files it may open. */
static uint64_t open_files(const struct contender *c)
{
    uint64_t wave = c->scene.values.v[BENCH_WAVE], jobs = c->scene.values.v[BENCH_JOBS];

    if (!wave || !is_qbatch(c))
        return 0;
    if (!jobs)
        jobs = c->scene.limit.threads;
    return wave + FILES_RESERVED + FILES_A_WORKER * jobs;
}

static int time_one(struct run *r, struct contender *c, struct bench_timed *timed,
                    struct qb_err *err)
{
    char errors[4096], topology[64];
    struct bench_how how = {.errors = errors, .open_files = open_files(c)};
    uint64_t nodes = c->scene.values.v[BENCH_NODES];

    snprintf(topology, sizeof(topology), "numa:%lu core:8 pu:1", (unsigned long)nodes);
    if (nodes && is_qbatch(c))
        how.topology = topology;
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
    size_t warmups = r->plan->warmups, all = warmups + r->runs;
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

/* ---- which bare program is the limit ----------------------------------------------------------
 */

static int use_method(struct run *r, struct contender *c, enum bench_limit_method method,
                      struct qb_err *err)
{
    c->scene.limit.method = method;
    c->record.method = bench_limit_methods[method].name;
    bench_command_free(&c->command);
    return bench_command_make(&c->scene, r->dir, &r->plan->tools, c->who, &c->command, err);
}

/* Each in turn, and that again: what disturbs the machine for a while is not held against one. */
static int try_methods(struct run *r, struct contender *c, struct qb_err *err)
{
    size_t tries = r->scene->n_images < MANY_IMAGES ? TRIES : 1, can = 0;

    for (enum bench_limit_method m = 0; m < BENCH_LIMIT_METHODS; m++)
        can += bench_limit_can(&c->scene.limit, r->scene->fleet, m);
    if (can < 2)
        return 0; /* the one that line_up has set */

    for (size_t i = 0; i < tries * BENCH_LIMIT_METHODS; i++) {
        enum bench_limit_method m = i % BENCH_LIMIT_METHODS;
        double *best = &c->record.trials[m];
        struct bench_timed timed;

        if (!bench_limit_can(&c->scene.limit, r->scene->fleet, m))
            continue;
        if (use_method(r, c, m, err) < 0 || time_one(r, c, &timed, err) < 0)
            return -1;
        *best = *best > 0 ? fmin(*best, timed.seconds) : timed.seconds;
    }
    return 0;
}

static int choose_method(struct run *r, struct contender *c, struct qb_err *err)
{
    enum bench_limit_method best = BENCH_LIMIT_METHODS;

    if (try_methods(r, c, err) < 0)
        return -1;
    for (enum bench_limit_method m = 0; m < BENCH_LIMIT_METHODS; m++) {
        if (c->record.trials[m] > 0 &&
            (best == BENCH_LIMIT_METHODS || c->record.trials[m] < c->record.trials[best]))
            best = m;
    }
    return best < BENCH_LIMIT_METHODS ? use_method(r, c, best, err) : 0;
}

static int choose_methods(struct run *r, struct qb_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->contenders[i].who == BENCH_LIMIT_IO && r->plan->warmups + r->plan->runs &&
            choose_method(r, &r->contenders[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- all runs -------------------------------------------------------------------------------- */

static int set_scene(const struct run *r, struct contender *c, struct qb_err *err)
{
    const struct bench_beside *beside = &r->plan->beside;
    struct bench_values values = r->scene->values;

    c->scene = *r->scene;
    snprintf(c->record.who, sizeof(c->record.who), "%s", bench_who_names[c->who]);
    if (c->who == BENCH_LIMIT_IO && r->scene->fleet)
        c->scene.limit.method = BENCH_LIMIT_THREADS;
    if (c->who == BENCH_LIMIT_IO)
        c->record.method = bench_limit_methods[c->scene.limit.method].name;
    if (c->who != BENCH_BESIDE)
        return 0;
    bench_beside_text(beside, c->record.who, sizeof(c->record.who));
    values.v[beside->param] = beside->value;
    return bench_scene_plan(r->scene->which, &values, &c->scene, err);
}

static int line_up(struct run *r, struct bench_records *records, struct qb_err *err)
{
    for (enum bench_who who = 0; who < BENCH_WHO_COUNT; who++) {
        struct contender *c = &r->contenders[r->n];
        struct bench_record *record;

        if (!r->plan->tools.path[who])
            continue;
        record = bench_records_add(records, r->most_runs);
        if (!record)
            return qb_fail_memory(err);
        *c = (struct contender){.who = who, .record = *record};
        r->n++;
        if (set_scene(r, c, err) < 0 ||
            bench_command_make(&c->scene, r->dir, &r->plan->tools, who, &c->command, err) < 0)
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

/* Whether the pairs of qbatch and the other one are enough to tell them apart, or are all. */
static bool decided(const struct run *r)
{
    const struct contender *ours = &r->contenders[0], *other = &r->contenders[1];
    QB_AUTO(qb_buf) double *ratios = calloc(r->runs + 1, sizeof(*ratios));

    if (r->runs >= r->most_runs || r->n < 2 || other->who != BENCH_OTHER || !ratios)
        return true;
    for (size_t i = 0; i < r->runs; i++)
        ratios[i] = ours->record.runs[i].seconds / other->record.runs[i].seconds;
    return bench_compare_pairs(ratios, r->runs, bench_looks(r->plan->runs, r->most_runs),
                               &r->plan->rule)
               .verdict != BENCH_UNDECIDED;
}

/* ---- instructions ---------------------------------------------------------------------------- */

static int count_one(struct run *r, struct contender *c, struct qb_err *err)
{
    struct bench_scene scene = c->scene;
    struct bench_command command;
    int code;

    if (!scene.values.v[BENCH_JOBS])
        scene.values.v[BENCH_JOBS] = 1; /* threads that wait for each other count differently */
    if (bench_scene_restore(r->scene, r->dir, &r->plan->tools, &r->cooled, err) < 0 ||
        bench_command_make(&scene, r->dir, &r->plan->tools, c->who, &command, err) < 0)
        return -1;
    code = bench_count(command.argv, r->dir->path, &c->record.instructions, err);
    bench_command_free(&command);
    return code;
}

static int count_instructions(struct run *r, struct qb_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        if (is_qbatch(&r->contenders[i]) && count_one(r, &r->contenders[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- all runs, and what they gave ------------------------------------------------------------ */

static void fill(const struct run *r, const struct contender *c, const struct contender *ours,
                 struct bench_record *record)
{
    bench_scene_title(r->scene, record->title, sizeof(record->title));
    snprintf(record->who, sizeof(record->who), "%s", c->record.who);
    record->n = r->runs;
    record->looks = r->plan->most_runs ? bench_looks(r->plan->runs, r->most_runs) : 1;
    record->instructions = c->record.instructions;
    record->method = c->record.method;
    memcpy(record->trials, c->record.trials, sizeof(record->trials));
    record->command = bench_command_line(&c->command, r->dir);
    record->which = r->scene->which;
    record->values = c->scene.values;
    record->clusters = r->scene->clusters;
    record->guest_bytes = r->scene->guest_bytes;
    record->images = r->scene->n_images;
    record->cooled = r->cooled;
    set_ratios(record, ours ? &ours->record : NULL);
}

int bench_run(const struct bench_scene *scene, const struct bench_plan *plan,
              struct bench_workdir *dir, struct bench_records *records, struct qb_err *err)
{
    struct run r = {.scene = scene,
                    .plan = plan,
                    .dir = dir,
                    .runs = plan->runs,
                    .most_runs = QB_MAX(plan->runs, plan->most_runs),
                    .cooled = "no"};
    size_t before = records->n;
    int failed = line_up(&r, records, err) < 0 || bench_scene_make(scene, dir, err) < 0 ||
                 choose_methods(&r, err) < 0;

    for (size_t i = 0; !failed && i < plan->warmups + r.runs; i++) {
        failed = one_pair(&r, i, err) < 0;
        if (i + 1 == plan->warmups + r.runs && !decided(&r))
            r.runs = bench_next_look(r.runs, r.most_runs);
    }
    if (!failed && plan->count)
        failed = count_instructions(&r, err) < 0;
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
