#include "args/args.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "args/options.h"

enum { SUITE_WORDS = 64 };

static int wrong(struct qb_err *err, const char *what, const char *text)
{
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s: '%s'", what, text);
}

/* ---- values ---------------------------------------------------------------------------------- */

static int take_count(const char *text, unsigned long max, unsigned long *out, struct qb_err *err)
{
    char *end;

    errno = 0;
    *out = strtoul(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || *out > max)
        return wrong(err, "not a number of runs", text);
    return 0;
}

/* "10%", "0.1" */
static int take_share(const char *text, double *out, struct qb_err *err)
{
    char *end;

    *out = strtod(text, &end);
    if (*end == '%') {
        *out /= 100;
        end++;
    }
    if (end == text || *end || !isfinite(*out) || *out < 0)
        return wrong(err, "not a share such as 10%", text);
    return 0;
}

static int take_size(const char *text, uint64_t *out, struct qb_err *err)
{
    struct bench_grid scratch;
    int r = bench_grid_init(&scratch, BENCH_CASE_ONE, err);

    if (r == 0)
        r = bench_grid_set(&scratch, BENCH_SIZE, text, NULL);
    if (r == 0)
        *out = scratch.lists[BENCH_SIZE].items[0];
    bench_grid_free(&scratch);
    return r == 0 ? 0 : wrong(err, "not a size", text);
}

static int take_contender(const struct bench_args *args, const char *text, struct bench_tools *out,
                          struct qb_err *err)
{
    if (!strcmp(text, "qemu-img"))
        out->path[BENCH_QEMU_IMG] = args->known.path[BENCH_QEMU_IMG];
    else if (!strcmp(text, "limit"))
        out->path[BENCH_LIMIT_IO] = args->known.path[BENCH_LIMIT_IO];
    else if (strchr(text, '/'))
        out->path[BENCH_OTHER] = text;
    else
        return wrong(err, "--vs takes qemu-img, limit or the path of another qbatch", text);
    return 0;
}

/* "sandbox=off" */
static int take_beside(const struct bench_args *args, struct bench_job *job, const char *text,
                       struct qb_err *err)
{
    size_t n = strcspn(text, "=");
    char name[32];
    struct bench_beside *b = &job->beside;

    snprintf(name, sizeof(name), "%.*s", (int)n, text);
    b->param = bench_param_find(name);
    if (!text[n] || b->param == BENCH_PARAM_COUNT || job->grid.which == BENCH_CASE_COUNT ||
        !(bench_cases[job->grid.which].params & bench_command_params & 1u << b->param))
        return wrong(err, "--beside takes a parameter of qbatch's command line and a value", text);
    if (bench_value_read(b->param, text + n + 1, &b->value, err) < 0)
        return -1;
    b->on = true;
    job->tools.path[BENCH_BESIDE] = args->known.path[BENCH_QBATCH];
    return 0;
}

static int take_by(const char *text, const char **out, struct qb_err *err)
{
    for (enum bench_who who = BENCH_OTHER; who < BENCH_WHO_COUNT; who++) {
        if (who != BENCH_BESIDE && !strcmp(text, bench_who_names[who])) {
            *out = bench_who_names[who];
            return 0;
        }
    }
    return wrong(err, "--by takes limit, qemu-img or other", text);
}

/* ---- one command line ------------------------------------------------------------------------ */

/* Those of one case, which a suite may have in each line. */
static int take_job_option(struct bench_args *args, struct bench_job *job, int option,
                           const char *value, struct qb_err *err)
{
    switch (option) {
    case BENCH_OPT_WARMUP:
        return take_count(value, 1000, &job->warmups, err);
    case BENCH_OPT_RUNS:
        return take_count(value, 10000, &job->runs, err);
    case BENCH_OPT_UNTIL_DECIDED:
        return take_count(value, 10000, &job->most_runs, err);
    case BENCH_OPT_INSTRUCTIONS:
        job->count = true;
        return 0;
    case BENCH_OPT_VS:
        return take_contender(args, value, &job->tools, err);
    default:
        return take_beside(args, job, value, err);
    }
}

static int take_option(struct bench_args *args, struct bench_job *job, int option,
                       const char *value, struct qb_err *err)
{
    switch (option) {
    case BENCH_OPT_WARMUP:
    case BENCH_OPT_RUNS:
    case BENCH_OPT_UNTIL_DECIDED:
    case BENCH_OPT_INSTRUCTIONS:
    case BENCH_OPT_VS:
    case BENCH_OPT_BESIDE:
        return take_job_option(args, job, option, value, err);
    case BENCH_OPT_FAIL_ON:
        return take_share(value, &args->rule.share, err);
    case BENCH_OPT_CHANCE:
        return take_share(value, &args->rule.chance, err);
    case BENCH_OPT_BY:
        return take_by(value, &args->rule.by, err);
    case BENCH_OPT_MAX_DISK:
        return take_size(value, &args->max_disk, err);
    case BENCH_OPT_SUITE:
        args->suite = value;
        return 0;
    case BENCH_OPT_EXPORT_JSON:
        args->export_json = value;
        return 0;
    case BENCH_OPT_COMPARE:
        args->compare = value;
        return 0;
    case BENCH_OPT_WITH:
        args->with = value;
        return 0;
    case BENCH_OPT_DIR:
        args->dir = value;
        return 0;
    case BENCH_OPT_QBATCH:
        args->known.path[BENCH_QBATCH] = job->tools.path[BENCH_QBATCH] = value;
        if (job->tools.path[BENCH_BESIDE])
            job->tools.path[BENCH_BESIDE] = value;
        return 0;
    case BENCH_OPT_QEMU_IMG:
        args->known.path[BENCH_QEMU_IMG] = value;
        if (job->tools.path[BENCH_QEMU_IMG])
            job->tools.path[BENCH_QEMU_IMG] = value;
        return 0;
    case BENCH_OPT_KEEP:
        args->keep = true;
        return 0;
    case BENCH_OPT_QUIET:
        args->quiet = true;
        return 0;
    case BENCH_OPT_HELP:
        args->help = true;
        return 0;
    default:
        args->version = true;
        return 0;
    }
}

static int take_param(struct bench_job *job, enum bench_param param, const char *value,
                      struct qb_err *err)
{
    const struct bench_case_row *row = &bench_cases[job->grid.which];

    if (!(row->params & 1u << param))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "--%s says nothing to %s",
                       bench_params[param].name, row->name);
    return bench_grid_set(&job->grid, param, value, err);
}

/* argv[0] is the case, where there is one; otherwise only options without it are taken. */
static int parse_line(struct bench_args *args, struct bench_job *job, int argc, char **argv,
                      bool suite, struct qb_err *err)
{
    struct bench_getopt t;
    int c;

    bench_getopt_make(&t, suite);
    optind = 0;
    opterr = 0;
    while ((c = getopt_long(argc, argv, t.letters, t.list, NULL)) != -1) {
        int option = bench_option_of(c), r;

        if (c == '?' || c == ':')
            return wrong(err, c == '?' ? "unknown option" : "the option takes a value",
                         argv[optind - 1]);
        if (option < BENCH_OPT_PARAM)
            r = take_option(args, job, option, optarg, err);
        else if (job->grid.which == BENCH_CASE_COUNT)
            r = wrong(err, "which case is this for", argv[optind - 1]);
        else
            r = take_param(job, (enum bench_param)(option - BENCH_OPT_PARAM), optarg, err);
        if (r < 0)
            return -1;
    }
    return optind < argc ? wrong(err, "what is this", argv[optind]) : 0;
}

/* The first argument names the case: `qbatch-bench expand --size 1T`. */
static int parse_job(struct bench_args *args, const struct bench_job *usual, int argc, char **argv,
                     bool suite, struct qb_err *err)
{
    struct bench_job job = *usual;
    enum bench_case which = bench_case_find(argv[0]);
    int r;

    if (which == BENCH_CASE_COUNT)
        return wrong(err, "there is no such case; --help lists them", argv[0]);
    r = bench_grid_init(&job.grid, which, err);
    if (r == 0)
        r = parse_line(args, &job, argc, argv, suite, err);
    if (r == 0 && !qb_vec_push(&args->jobs, job))
        r = qb_fail_memory(err);
    if (r < 0)
        bench_grid_free(&job.grid);
    return r;
}

/* ---- suites ---------------------------------------------------------------------------------- */

static int read_suite(struct bench_args *args, struct qb_err *err)
{
    FILE *f = fopen(args->suite, "re");
    size_t room = 0;
    ssize_t n;

    if (!f)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s", args->suite);
    n = getdelim(&args->text, &room, '\0', f);
    fclose(f);
    return n <= 0 ? wrong(err, "the suite is empty", args->suite) : 0;
}

static int parse_suite(struct bench_args *args, const struct bench_job *usual, struct qb_err *err)
{
    char *at, *line;
    int number = 0;

    if (read_suite(args, err) < 0)
        return -1;
    at = args->text;
    while ((line = strsep(&at, "\n"))) {
        char *words[SUITE_WORDS + 1], *word;
        struct qb_err why;
        int n = 0;

        number++;
        line[strcspn(line, "#")] = '\0';
        while ((word = strsep(&line, " \t")) && n < SUITE_WORDS) {
            if (*word)
                words[n++] = word;
        }
        words[n] = NULL;
        if (n && parse_job(args, usual, n, words, true, &why) < 0)
            return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s:%d: %.300s", args->suite, number,
                           why.text);
    }
    return args->jobs.n ? 0 : wrong(err, "the suite is empty", args->suite);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void find_tools(struct bench_args *args)
{
    ssize_t n = readlink("/proc/self/exe", args->self, sizeof(args->self) - 1);
    char *slash;

    args->self[n > 0 ? n : 0] = '\0';
    strcpy(args->beside, args->self);
    slash = strrchr(args->beside, '/');
    strcpy(slash ? slash + 1 : args->beside, "qbatch");
    args->known.path[BENCH_QBATCH] = args->beside;
    args->known.path[BENCH_QEMU_IMG] = "qemu-img";
    args->known.path[BENCH_LIMIT_IO] = args->self;
}

static int refuse_nonsense(const struct bench_args *args, struct qb_err *err)
{
    if (args->with && (!args->compare || args->jobs.n))
        return wrong(err, "--with goes with --compare and without a case", args->with);
    if (!args->help && !args->version && !args->with && !args->jobs.n)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "name a case, or --suite FILE; see --help");
    return 0;
}

int bench_args_parse(int argc, char **argv, struct bench_args *args, struct qb_err *err)
{
    const char *tmp = getenv("TMPDIR");
    struct bench_job usual = {.warmups = 1, .runs = 5};
    bool named = argc > 1 && argv[1][0] != '-';
    int r;

    memset(args, 0, sizeof(*args));
    args->dir = tmp && *tmp ? tmp : "/var/tmp";
    args->rule = (struct bench_rule){0.10, 0.01, NULL};
    args->max_disk = 32ull << 30;
    find_tools(args);
    usual.tools.path[BENCH_QBATCH] = args->known.path[BENCH_QBATCH];
    usual.grid.which = BENCH_CASE_COUNT;
    r = named ? parse_job(args, &usual, argc - 1, argv + 1, false, err)
              : parse_line(args, &usual, argc, argv, false, err);
    if (r == 0 && args->suite && named)
        r = wrong(err, "a case or a suite, not both", args->suite);
    if (r == 0 && args->suite)
        r = parse_suite(args, &usual, err);
    return r < 0 ? -1 : refuse_nonsense(args, err);
}

void bench_args_free(struct bench_args *args)
{
    qb_vec_each (job, &args->jobs)
        bench_grid_free(&job->grid);
    qb_vec_free(&args->jobs);
    free(args->text);
}
