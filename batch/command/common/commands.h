/* Declares the functions of the commands; each returns the exit code. */
#ifndef QB_COMMON_COMMANDS_H
#define QB_COMMON_COMMANDS_H

#include "cli/cli.h"

#define COMMAND(ID, name, verb, NAMES, operands, fewest, most, help)                               \
    int qb_command_##verb(const struct qb_cli *);
#include "cli/cli.def"
#undef COMMAND

int qb_command_version(const struct qb_cli *cli); /* --version; version.c */

#endif
