/* `qbatch check`: checks images on all cores, and reports in the terms of `qemu-img check`, so that
 * scripts and people can read both. */
#include "look/check_run.h"
#include "common/commands.h"
#include "look/each_image.h"
#include "common/output.h"
#include "record/report_json.h"
#include "util/exit_code.h"
#include "util/signal.h"

/* The worst that was found; what was seen to be corrupt is worse than what was not seen. */
static int exit_code(const struct qb_check_summary *sum)
{
    return qb_signal_seen()                                                   ? QB_EXIT_INTERRUPTED
           : sum->of[QB_VERDICT_CORRUPT]                                      ? 2
           : sum->of[QB_VERDICT_UNCHECKED] || sum->incomplete || sum->gave_up ? 1
           : sum->of[QB_VERDICT_LEAKS]                                        ? 3
                                                                              : 0;
}

/* A quiet check has only what is wrong, which goes where errors do. */
static FILE *stream_of(const struct qb_cli *cli)
{
    return qb_cli_has(cli, QB_OPTION_QUIET) && !qb_cli_has(cli, QB_OPTION_JSON)
               ? stderr
               : qb_output_for_people(cli);
}

/* The files of reports cannot be opened, which was said. */
static int refuse(const struct qb_cli *cli)
{
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, "a report cannot be written; no image was read", QB_EXIT_USAGE);
    return QB_EXIT_USAGE;
}

static int check(const struct qb_cli *cli, const struct qb_batch *batch,
                 struct qb_confining *confining, int *code, int *stdout_errno, struct qb_err *err)
{
    struct qb_sinks sinks;
    const struct qb_check_options options = {
        .io = cli->io,
        .jobs = cli->jobs,
        .json = qb_cli_has(cli, QB_OPTION_JSON),
        .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
        .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
        .out = stream_of(cli),
        .sinks = &sinks,
        .confining = confining,
        .level = (enum qb_check_level)cli->words[QB_OPTION_LEVEL],
        .without_locks = qb_cli_has(cli, QB_OPTION_FORCE_SHARE),
        .watching = cli->watching};
    struct qb_check_summary sum = {0};

    if (qb_output_open_sinks(&sinks, cli, batch) < 0) {
        *code = refuse(cli);
        return 0;
    }
    if (qb_check_all(batch, &options, &sum, stdout_errno, err) < 0) {
        qb_sinks_abort(&sinks, err->text);
        return -1;
    }
    *code = exit_code(&sum);
    if (options.json && !*stdout_errno)
        qb_line_check_summary(stdout, &sum, *code);
    if (qb_sinks_checked_end(&sinks, &(struct qb_check_telling){batch, &sum, *code}) < 0 &&
        *code == 0)
        *code = QB_EXIT_FAILED;
    return 0;
}

int qb_command_check(const struct qb_cli *cli)
{
    return qb_each_command(cli, check);
}
