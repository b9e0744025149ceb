/* What each command does; each returns the exit code. */
#ifndef QB_COMMAND_COMMANDS_H
#define QB_COMMAND_COMMANDS_H

#include "cli/cli.h"

#define COMMAND(ID, name, verb, NAMES, operands, help) int qb_command_##verb(const struct qb_cli *);
#include "cli/cli.def"
#undef COMMAND

int qb_command_version(const struct qb_cli *cli); /* --version; version.c */

/* Reads the manifest that a command names, tells its mistakes on standard error, and narrows it as
 * the command line says.  -1: it is wrong.  Free the batch in either case. */
struct qb_batch;
int qb_command_load(const struct qb_cli *cli, struct qb_batch *batch);

#endif
