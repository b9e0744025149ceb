/* The parts of `qbatch backup`, each with an exit code. */
#ifndef QB_FLEET_BACKUP_PARTS_H
#define QB_FLEET_BACKUP_PARTS_H

#include "cli/cli.h"

int qb_backup_list(const struct qb_cli *cli);    /* backup_list.c */
int qb_backup_restore(const struct qb_cli *cli); /* backup_restore.c */
int qb_backup_prune(const struct qb_cli *cli);   /* backup_prune.c */

/* Reports on standard error, and with --json as a final record, why nothing was done. */
struct qb_err;
int qb_backup_refuse(const struct qb_cli *cli, const struct qb_err *err);

/* One line on standard error about something that is passed over. */
void qb_backup_note(const char *text);

#endif
