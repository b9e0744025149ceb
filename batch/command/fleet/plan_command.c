/* `qbatch plan` and `qbatch apply`: a plan is saved, shown, and carried out. */
#include <string.h>
#include <unistd.h>

#include "common/commands.h"
#include "common/output.h"
#include "common/overrides.h"
#include "fleet/fleet_run.h"
#include "fleet/status_images.h"
#include "job/job.h"
#include "record/report_json.h"
#include "saved/plan_kinds.h"
#include "saved/plan_read.h"
#include "util/text.h"

/* A plan that was read. */
struct opened {
    const struct qb_cli *cli;
    struct qb_batch batch;
    struct qb_plan_head head;
    struct qb_plan_kinds kinds;
    struct qb_summary sum;
    struct qb_table table;
    size_t job;  /* the next image */
    bool prints; /* JSON */
};

static void close_plan(struct opened *p)
{
    qb_plan_kinds_free(&p->kinds);
    qb_plan_head_free(&p->head);
    qb_batch_free(&p->batch);
}

static int refuse(const struct qb_cli *cli, const char *why)
{
    fprintf(stderr, "qbatch %s: ", qb_commands[cli->command].name);
    qb_text_safe(stderr, why);
    fputc('\n', stderr);
    return qb_fleet_refuse(cli, why);
}

/* ---- show ------------------------------------------------------------------------------------ */

static void count_line(void *arg, const char *text, size_t len, const struct qb_read_line *image)
{
    struct opened *p = arg;

    if (p->prints)
        fwrite(text, 1, len, stdout);
    if (image)
        qb_plan_kinds_add(&p->kinds, &image->outcome.result);
}

/* Of what --tags leaves. */
static void count_wanted(void *arg, const char *text, size_t len, const struct qb_read_line *image)
{
    struct opened *p = arg;

    (void)text, (void)len;
    if (image && p->job < p->batch.n_jobs && qb_tags_want(p->cli, &p->batch.jobs[p->job++]))
        qb_plan_kinds_add(&p->kinds, &image->outcome.result);
}

static void row_line(void *arg, const char *text, size_t len, const struct qb_read_line *image)
{
    struct opened *p = arg;

    (void)text, (void)len;
    if (!image || p->job == p->batch.n_jobs)
        return;
    qb_summary_add(&p->sum, &image->outcome.result);
    qb_table_row(&p->table, &p->batch.jobs[p->job++], &image->outcome);
}

/* As far as that can be said before it is known which images are changed. */
static void print_steps(const struct qb_batch *batch)
{
    uint64_t targets[QB_STEPS_MAX];
    unsigned n = qb_step_targets(&batch->rollout, batch->n_jobs, targets);
    char b[QB_TEXT_NUMBER];

    if (batch->rollout.steps.n == 0)
        return;
    for (unsigned i = 0; i < n; i++)
        printf("%s%s", i ? ", " : "steps     ", qb_text_count(targets[i], b));
    fputs(" images\n", stdout);
}

static void print_head(const struct opened *p)
{
    const struct qb_origin *o = &p->head.origin;

    qb_status_fact("manifest", p->head.manifest);
    qb_status_fact("digest", p->head.manifest_print);
    qb_status_fact("saved", p->head.saved);
    qb_status_fact("host", o->host);
    qb_status_fact("caller", o->caller);
    qb_status_fact("command", o->command);
    for (size_t i = 0; i < o->labels.n; i++) {
        printf("%s", i == 0 ? "labels    " : ", ");
        qb_text_safe(stdout, o->labels.items[i].key);
        fputs(": ", stdout);
        qb_text_safe(stdout, o->labels.items[i].value);
    }
    fputs(o->labels.n ? "\n" : "", stdout);
    print_steps(&p->batch);
    putchar('\n');
}

static int show_people(struct opened *p, const struct qb_cli *cli, struct qb_err *err)
{
    p->table = (struct qb_table){.out = stdout,
                                 .errors = stderr,
                                 .verbose = qb_cli_has(cli, QB_OPTION_VERBOSE),
                                 .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
                                 .diff = qb_cli_has(cli, QB_OPTION_DIFF),
                                 .color = qb_table_wants_color(stdout, qb_cli_color(cli))};
    qb_plan_kinds_print(&p->kinds, stdout);
    fputs("\n\n", stdout);
    print_head(p);
    p->sum.dry_run = true;
    qb_table_start(&p->table, &p->batch);
    if (qb_plan_each_line(cli->operands[1], &p->batch, row_line, p, err) < 0)
        return -1;
    qb_table_end(&p->table, &p->sum);
    return 0;
}

static int show(const struct qb_cli *cli)
{
    __attribute__((cleanup(close_plan))) struct opened p = {.prints =
                                                                qb_cli_has(cli, QB_OPTION_JSON)};
    const char *path = cli->operands[1];
    struct qb_err err;

    qb_batch_init(&p.batch);
    if (qb_plan_read(path, &p.batch, &p.head, &err) < 0 ||
        qb_plan_each_line(path, &p.batch, count_line, &p, &err) < 0 ||
        (!p.prints && show_people(&p, cli, &err) < 0))
        return refuse(cli, err.text);
    return qb_stdout_end(QB_EXIT_OK);
}

/* ---- save ------------------------------------------------------------------------------------ */

static void free_batch(struct qb_batch *batch)
{
    qb_batch_free(batch);
}

/* A dry run, whose results are kept. */
static int save(const struct qb_cli *cli)
{
    __attribute__((cleanup(free_batch))) struct qb_batch batch;
    struct qb_cli dry = *cli;

    dry.given |= UINT64_C(1) << QB_OPTION_DRY_RUN;
    if (qb_command_load(cli, &batch) < 0)
        return qb_fleet_refuse(cli, "the manifest is wrong; nothing was saved");
    return qb_fleet_run(&dry, &batch);
}

int qb_command_plan(const struct qb_cli *cli)
{
    return qb_cli_text(cli, QB_OPTION_SAVE) ? save(cli) : show(cli);
}

/* ---- apply ----------------------------------------------------------------------------------- */

/* Asks on the terminal: 1 for yes, 0 for no, -1 where there is nobody to ask. */
static int ask(struct opened *p)
{
    char answer[16] = "", b[QB_TEXT_NUMBER];
    uint64_t n = qb_plan_kinds_changes(&p->kinds);

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return -1;
    qb_plan_kinds_print(&p->kinds, stderr);
    fprintf(stderr, "\nAmend %s image%s? [y/N] ", qb_text_count(n, b), n == 1 ? "" : "s");
    fflush(stderr);
    if (!fgets(answer, sizeof(answer), stdin))
        return 0;
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, "y") == 0 || strcmp(answer, "yes") == 0;
}

static int agree(const struct qb_cli *cli, struct opened *p, struct qb_err *err)
{
    int yes;

    if (qb_cli_has(cli, QB_OPTION_YES) || qb_cli_has(cli, QB_OPTION_DRY_RUN))
        return 0;
    if (qb_plan_each_line(cli->operands[0], &p->batch, count_wanted, p, err) < 0)
        return -1;
    yes = ask(p);
    if (yes < 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "apply asks before it amends anything, and there is no terminal: --yes says "
                       "that the plan is agreed to");
    return yes ? 0 : 1;
}

int qb_command_apply(const struct qb_cli *cli)
{
    __attribute__((cleanup(close_plan))) struct opened p = {.cli = cli};
    struct qb_err err;
    int r;

    qb_batch_init(&p.batch);
    if (qb_plan_read(cli->operands[0], &p.batch, &p.head, &err) < 0)
        return refuse(cli, err.text);
    if (qb_tags_check(cli, &p.batch) < 0)
        return qb_fleet_refuse(cli, "--tags or --skip-tags is wrong; nothing was touched");
    if (qb_fleet_twins(&p.batch) < 0)
        return qb_fleet_refuse(cli, "no memory is left; nothing was touched");
    r = agree(cli, &p, &err);
    if (r < 0)
        return refuse(cli, err.text);
    if (r > 0) {
        fputs("qbatch: nothing was changed\n", stderr);
        return QB_EXIT_PENDING;
    }
    if (qb_narrow(cli, &p.batch) < 0)
        return qb_fleet_refuse(cli, "no memory is left; nothing was touched");
    return qb_fleet_run(cli, &p.batch);
}
