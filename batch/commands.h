/* What each command does; each returns the exit code. */
#ifndef QB_BATCH_COMMANDS_H
#define QB_BATCH_COMMANDS_H

#include "batch/cli.h"

int qb_command_run(const struct qb_cli *cli);
int qb_command_amend(const struct qb_cli *cli);
int qb_command_lint(const struct qb_cli *cli);
int qb_command_check(const struct qb_cli *cli);  /* check.c */
int qb_command_status(const struct qb_cli *cli); /* status.c */
int qb_command_undo(const struct qb_cli *cli);   /* undo.c */
int qb_command_help(const struct qb_cli *cli);

#endif
