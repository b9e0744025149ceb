#include "common/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "common/ask.h"
#include "common/finish.h"
#include "record/report_json.h"
#include "util/signal.h"
#include "util/text.h"

static struct qb_telling telling(const struct qb_output *out, int code)
{
    return (struct qb_telling){.batch = out->batch,
                               .sum = &out->sum,
                               .foresight = &out->foresight,
                               .exit_code = code,
                               .of = out->of};
}

static bool is_stdout(const char *argument)
{
    return argument && strcmp(argument, "-") == 0;
}

FILE *qb_output_for_people(const struct qb_cli *cli)
{
    const char *const arguments[] = {
#define SINK(name, OPTION) qb_cli_text(cli, QB_OPTION_##OPTION),
#include "sink/sinks.def"
#undef SINK
    };

    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
        if (is_stdout(arguments[i]))
            return stderr;
    return stdout;
}

int qb_output_open_sinks(struct qb_sinks *sinks, const struct qb_cli *cli,
                         const struct qb_batch *batch)
{
    const char *arguments[QB_SINK_COUNT] = {
#define SINK(name, OPTION) [QB_SINK_##name] = qb_cli_text(cli, QB_OPTION_##OPTION),
#include "sink/sinks.def"
#undef SINK
    };
    bool merges = cli->command == QB_COMMAND_REPORT && strcmp(cli->operands[0], "merge") == 0;
    unsigned users = qb_cli_has(cli, QB_OPTION_JSON) || merges;

    for (size_t i = 0; i < QB_SINK_COUNT; i++)
        if (is_stdout(arguments[i])) {
            arguments[i] = "/dev/stdout";
            users++;
        }
    if (users <= 1)
        return qb_sinks_open(sinks, arguments, batch, cli->command == QB_COMMAND_CHECK);
    fputs("qbatch: standard output can have one report only\n", stderr);
    return -1;
}

int qb_output_open(struct qb_output *out, const struct qb_cli *cli, const struct qb_batch *batch)
{
    *out = (struct qb_output){.batch = batch, .cli = cli, .json = qb_cli_has(cli, QB_OPTION_JSON)};
    out->meter =
        mmap(NULL, sizeof(*out->meter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (out->meter == MAP_FAILED) {
        fputs("qbatch: out of memory\n", stderr);
        return -1;
    }
    if (qb_output_open_sinks(&out->sinks, cli, batch) < 0)
        return -1;
    out->table = (struct qb_table){.out = qb_output_for_people(cli),
                                   .errors = stderr,
                                   .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
                                   .verbose = qb_cli_has(cli, QB_OPTION_VERBOSE),
                                   .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
                                   .diff = qb_cli_has(cli, QB_OPTION_DIFF),
                                   .color = qb_table_wants_color(stdout, qb_cli_color(cli))};
    out->sum.dry_run = qb_cli_has(cli, QB_OPTION_DRY_RUN);
    out->of = qb_json_of_text(batch);
    out->started = qb_now();
    out->sum.started = batch->origin.started;
    qb_table_start(&out->table, batch);
    out->progress = qb_progress_start(
        out->table.quiet && cli->watching == QB_WATCH_AUTO ? QB_WATCH_NONE : cli->watching,
        out->meter, batch);
    return 0;
}

void qb_output_offer(struct qb_output *out, struct qb_confining *c)
{
    out->confining = c;
    out->sum.sandboxed = &c->sandboxed;
    c->wants_helper |= qb_sinks_offer(&out->sinks, &c->errands, &c->helper);
}

/* ---- while it runs --------------------------------------------------------------------------- */

static void hide(struct qb_output *out)
{
    if (!out->hidden)
        qb_progress_hide(out->progress);
    out->hidden = true;
}

static void note_failure(int *where, int failed)
{
    if (failed && *where == 0)
        *where = errno ? errno : EIO;
}

/* Where the texts of the sinks end. */
enum { TEXT_OF_STDOUT = QB_SINK_COUNT };

static char *stdout_line(const struct qb_output *out, size_t i, const struct qb_outcome *outcome,
                         size_t *len)
{
    return qb_json_take(qb_json_image(out->batch, &out->batch->jobs[i], outcome, out->of, true),
                        len);
}

static void on_compose(void *arg, size_t i, struct qb_outcome *outcome)
{
    const struct qb_output *out = arg;
    struct qb_telling t = telling(out, 0);
    struct qb_composed *c = calloc(1, sizeof(*c));

    outcome->composed = c;
    if (!c)
        return;
    qb_sinks_compose(&out->sinks, &t, i, outcome, c);
    if (out->json)
        c->texts[TEXT_OF_STDOUT] = stdout_line(out, i, outcome, &c->lens[TEXT_OF_STDOUT]);
}

static int put_stdout_line(const struct qb_output *out, size_t i, const struct qb_outcome *outcome)
{
    const struct qb_composed *c = outcome->composed;
    size_t len = c ? c->lens[TEXT_OF_STDOUT] : 0;
    const char *text = c ? c->texts[TEXT_OF_STDOUT] : NULL;
    QB_AUTO(qb_buf) char *made = text ? NULL : stdout_line(out, i, outcome, &len);

    text = text ? text : made;
    errno = text ? 0 : ENOMEM;
    return text && fwrite(text, 1, len, stdout) == len ? 0 : -1;
}

static void on_image(void *arg, size_t i, const struct qb_outcome *outcome)
{
    struct qb_output *out = arg;
    const struct qb_job *job = &out->batch->jobs[i];
    struct qb_telling t = telling(out, 0);

    hide(out);
    qb_summary_add(&out->sum, &outcome->result);
    if (qb_finish_leaves(&outcome->result) && !qb_vec_push(&out->left, i))
        out->left_unknown = true;
    out->can_finish |= qb_finish_can_help(&outcome->result);
    if (out->sum.dry_run)
        qb_foresee(&out->foresight, out->batch, job, &outcome->result);
    qb_table_alarm(&out->table, job, &outcome->result);
    qb_sinks_image(&out->sinks, &t, i, outcome);
    if (out->json)
        note_failure(&out->stdout_errno, put_stdout_line(out, i, outcome));
    else
        qb_table_row(&out->table, job, outcome);
}

static void on_pause(void *arg)
{
    struct qb_output *out = arg;

    note_failure(&out->stdout_errno, fflush(stdout));
    qb_sinks_flush(&out->sinks);
    if (out->hidden)
        qb_progress_show(out->progress);
    out->hidden = false;
}

static void on_notice(void *arg, const char *text)
{
    struct qb_output *out = arg;

    hide(out);
    fputs("qbatch: ", stderr);
    qb_text_safe(stderr, text);
    fputc('\n', stderr);
    on_pause(out);
}

static bool on_ask(void *arg, const char *question, int asker)
{
    struct qb_output *out = arg;
    bool yes;

    hide(out);
    note_failure(&out->stdout_errno, fflush(stdout));
    yes = qb_ask(question, asker, qb_signal_seen);
    on_pause(out);
    return yes;
}

struct qb_listener qb_output_listener(struct qb_output *out)
{
    bool composes = out->json || qb_sinks_want_composed(&out->sinks);

    return (struct qb_listener){.arg = out,
                                .compose = composes ? on_compose : NULL,
                                .image = on_image,
                                .pause = on_pause,
                                .notice = out->table.quiet ? NULL : on_notice,
                                .ask = on_ask,
                                .meter = out->meter,
                                .rollout = &out->sum.rollout};
}

/* ---- the end --------------------------------------------------------------------------------- */

int qb_stdout_end(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == EPIPE)
        return code;
    fprintf(stderr, "qbatch: standard output: %s\n", strerror(errno));
    return code ? code : 1;
}

static int stdout_code(const struct qb_output *out, int code)
{
    int error = out->stdout_errno;

    if (error == 0)
        return qb_stdout_end(code);
    if (error == EPIPE)
        return code;
    fprintf(stderr, "qbatch: standard output: %s\n", strerror(error));
    return code ? code : 1;
}

/* What went wrong in a rollout, of which no image tells: a quiet run has had no notice of it. */
static void tell_failed_step(const struct qb_output *out)
{
    const struct qb_rollout_sum *rollout = &out->sum.rollout;

    if (!out->table.quiet || !rollout->n || rollout->steps[rollout->step].verdict != QB_GATE_FAILED)
        return;
    fprintf(stderr, "qbatch: step %u of %u failed: ", rollout->step + 1, rollout->n);
    qb_text_safe(stderr, rollout->why);
    fputc('\n', stderr);
}

/* The command that finishes what is left, where it can help some image; without one, where it takes
 * more than the same command again, that is said. */
static void find_finish(struct qb_output *out)
{
    const struct qb_rollout_sum *rollout = &out->sum.rollout;
    bool asked = rollout->n && rollout->steps[rollout->step].verdict == QB_GATE_ASKED;

    if (!out->left_unknown)
        out->finish = qb_finish_command(out->cli, out->batch, out->left.items, out->left.n, asked);
    out->sum.finish = out->can_finish ? out->finish : NULL;
    out->sum.adds_twice = out->left.n > 0 && !out->finish && out->batch->typed &&
                          !out->sum.dry_run && qb_finish_adds(out->batch);
}

int qb_output_close(struct qb_output *out, bool detailed)
{
    int code = qb_summary_exit_code(&out->sum, detailed);
    struct qb_telling t = telling(out, code);

    qb_progress_stop(out->progress);
    find_finish(out);
    out->sum.seconds = qb_now() - out->started;
    if (out->sum.dry_run)
        out->sum.rate_seconds = qb_foresight_rate_seconds(&out->foresight, out->batch);
    if (out->json)
        note_failure(&out->stdout_errno,
                     qb_line_summary(stdout, out->batch, &out->sum, &out->foresight, code));
    else
        qb_table_end(&out->table, &out->sum);
    if (!out->json && !out->table.quiet)
        qb_foresight_print(&out->foresight, out->sum.rate_seconds, out->table.out);
    qb_table_alarm_end(&out->table, &out->sum);
    tell_failed_step(out);
    if (out->sum.finish && (out->json || out->table.quiet)) /* else the last row has it */
        fprintf(stderr, "qbatch: to finish: %s\n", out->sum.finish);
    if (qb_sinks_end(&out->sinks, &t) < 0 && code == 0)
        code = 1;
    qb_foresight_free(&out->foresight);
    free(qb_take(&out->finish));
    free(qb_take(&out->of));
    out->sum.finish = NULL;
    qb_vec_free(&out->left);
    qb_orders_free(&out->sum.orders);
    return stdout_code(out, code);
}

int qb_output_abort(struct qb_output *out, const char *why)
{
    qb_progress_stop(out->progress);
    fputs("qbatch: ", stderr);
    qb_text_safe(stderr, why);
    fputc('\n', stderr);
    if (out->json)
        qb_line_abort(stdout, why, 2);
    qb_sinks_abort(&out->sinks, why);
    free(qb_take(&out->of));
    qb_orders_free(&out->sum.orders);
    return qb_stdout_end(2);
}
