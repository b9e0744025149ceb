/* What each command does; each returns the exit code. */
#ifndef QB_COMMAND_COMMANDS_H
#define QB_COMMAND_COMMANDS_H

#include "cli/cli.h"

int qb_command_run(const struct qb_cli *cli);
int qb_command_amend(const struct qb_cli *cli);
int qb_command_lint(const struct qb_cli *cli);   /* lint_command.c */
int qb_command_check(const struct qb_cli *cli);  /* check_command.c */
int qb_command_graph(const struct qb_cli *cli);  /* graph_command.c */
int qb_command_status(const struct qb_cli *cli); /* status_command.c */
int qb_command_undo(const struct qb_cli *cli);   /* undo_command.c */
int qb_command_schema(const struct qb_cli *cli);
int qb_command_report(const struct qb_cli *cli); /* report_command.c */
int qb_command_help(const struct qb_cli *cli);

/* Reads the manifest that a command names, tells its mistakes on standard error, and narrows it as
 * the command line says.  -1: it is wrong.  Free the batch in either case. */
struct qb_batch;
int qb_command_load(const struct qb_cli *cli, struct qb_batch *batch);

/* configs/qbatch-manifest.schema.json, put into the program when it is built. */
extern const char qb_schema[];
extern const size_t qb_schema_len;

#endif
