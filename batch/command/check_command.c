/* `qbatch check`: checks images on all cores, and reports in the terms of `qemu-img check`, so that
 * scripts and people can read both. */
#include <errno.h>
#include <string.h>

#include "command/check_images.h"
#include "command/check_run.h"
#include "command/commands.h"
#include "command/output.h"
#include "host/priority.h"
#include "report/report_json.h"
#include "util/signal.h"
#include "util/text.h"

static void free_batch(struct qb_batch *batch)
{
    qb_batch_free(batch);
}

/* Nothing was checked; what is wrong was said. */
static int refuse(const struct qb_cli *cli, const char *what, int code)
{
    code = qb_signal_seen() ? QB_EXIT_INTERRUPTED : code;
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, what, code);
    return qb_stdout_end(code);
}

static int refuse_start(const struct qb_cli *cli, const struct qb_err *err)
{
    fputs("qbatch check: ", stderr);
    qb_text_safe(stderr, err->text);
    fputc('\n', stderr);
    return refuse(cli, err->text, QB_EXIT_FAILED);
}

/* The worst that was found; what was seen to be corrupt is worse than what was not seen. */
static int exit_code(const struct qb_check_summary *sum)
{
    return qb_signal_seen()                                   ? QB_EXIT_INTERRUPTED
           : sum->of[QB_VERDICT_CORRUPT]                      ? 2
           : sum->of[QB_VERDICT_UNCHECKED] || sum->incomplete ? 1
           : sum->of[QB_VERDICT_LEAKS]                        ? 3
                                                              : 0;
}

static int end_with(int code, int stdout_errno)
{
    if (stdout_errno == 0)
        return qb_stdout_end(code);
    if (stdout_errno == EPIPE) /* a reader that went away is not an error */
        return code;
    fprintf(stderr, "qbatch: standard output: %s\n", strerror(stdout_errno));
    return code ? code : 1;
}

int qb_command_check(const struct qb_cli *cli)
{
    __attribute__((cleanup(free_batch))) struct qb_batch batch;
    const struct qb_check_options options = {
        .io = cli->io,
        .jobs = cli->jobs,
        .json = qb_cli_has(cli, QB_OPTION_JSON),
        .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
        .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
        .level = (enum qb_check_level)cli->words[QB_OPTION_LEVEL],
        .without_locks = qb_cli_has(cli, QB_OPTION_FORCE_SHARE),
        .watching = cli->watching};
    struct qb_check_summary sum = {0};
    int stdout_errno = 0, code;
    struct qb_err err;
    const char *what;

    if (qb_check_images(cli, &batch, &what) < 0)
        return refuse(cli, what, QB_EXIT_USAGE);
    if (batch.limits.deadline_seconds > 0)
        qb_signal_deadline(batch.limits.deadline_seconds);
    if (qb_neighbour_begin(&batch.limits, &err) < 0 ||
        qb_check_all(&batch, &options, &sum, &stdout_errno, &err) < 0)
        return refuse_start(cli, &err);
    code = exit_code(&sum);
    if (options.json && !stdout_errno)
        qb_line_check_summary(stdout, &sum, code);
    return end_with(code, stdout_errno);
}
