/* qbatch, the program: understands the command line and hands over. */
#include <stdio.h>

#include "common/commands.h"
#include "common/output.h"
#include "util/signal.h"

static int (*const commands[QB_COMMAND_COUNT])(const struct qb_cli *cli) = {
#define COMMAND(ID, name, verb, NAMES, operands, fewest, most, help)                               \
    [QB_COMMAND_##ID] = qb_command_##verb,
#include "cli/cli.def"
#undef COMMAND
};

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
            code = qb_command_version(&cli);
        } else {
            code = commands[cli.command](&cli);
        }
    }
    qb_cli_free(&cli);
    return code;
}
