/* `qbatch check`: checks images on all cores, and reports in the terms of `qemu-img check`, so that
 * scripts and people can read both. */
#include "command/check_run.h"
#include "command/commands.h"
#include "command/each_image.h"
#include "util/exit_code.h"
#include "util/signal.h"

/* The worst that was found; what was seen to be corrupt is worse than what was not seen. */
static int exit_code(const struct qb_check_summary *sum)
{
    return qb_signal_seen()                                   ? QB_EXIT_INTERRUPTED
           : sum->of[QB_VERDICT_CORRUPT]                      ? 2
           : sum->of[QB_VERDICT_UNCHECKED] || sum->incomplete ? 1
           : sum->of[QB_VERDICT_LEAKS]                        ? 3
                                                              : 0;
}

static int check(const struct qb_cli *cli, const struct qb_batch *batch, int *code,
                 int *stdout_errno, struct qb_err *err)
{
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

    if (qb_check_all(batch, &options, &sum, stdout_errno, err) < 0)
        return -1;
    *code = exit_code(&sum);
    if (options.json && !*stdout_errno)
        qb_line_check_summary(stdout, &sum, *code);
    return 0;
}

int qb_command_check(const struct qb_cli *cli)
{
    return qb_each_command(cli, check);
}
