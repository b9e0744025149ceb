/* qbatch, the program: understands the command line and hands over. */
#include <stdio.h>

#include "command/commands.h"
#include "command/output.h"
#include "util/signal.h"

static int dispatch(const struct qb_cli *cli)
{
    switch (cli->command) {
    case QB_COMMAND_AMEND:
        return qb_command_amend(cli);
    case QB_COMMAND_CHECK:
        return qb_command_check(cli);
    case QB_COMMAND_LINT:
        return qb_command_lint(cli);
    case QB_COMMAND_GRAPH:
        return qb_command_graph(cli);
    case QB_COMMAND_STATUS:
        return qb_command_status(cli);
    case QB_COMMAND_UNDO:
        return qb_command_undo(cli);
    case QB_COMMAND_SCHEMA:
        return qb_command_schema(cli);
    case QB_COMMAND_REPORT:
        return qb_command_report(cli);
    case QB_COMMAND_HELP:
        return qb_command_help(cli);
    default:
        return qb_command_run(cli);
    }
}

int main(int argc, char **argv)
{
    struct qb_cli cli;
    int code = 2;

    if (argc < 2) {
        qb_help_usage(stderr);
        return code;
    }
    qb_signal_install();
    if (qb_cli_parse(argc, argv, &cli, stderr) == 0) {
        if (qb_cli_has(&cli, QB_OPTION_HELP)) {
            qb_help_command(stdout, cli.command);
            code = qb_stdout_end(0);
        } else if (qb_cli_has(&cli, QB_OPTION_VERSION)) {
            printf("qbatch %s\n", QB_VERSION);
            code = qb_stdout_end(0);
        } else {
            code = dispatch(&cli);
        }
    }
    qb_cli_free(&cli);
    return code;
}
