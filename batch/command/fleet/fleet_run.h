/* Runs a batch, however it was made: of a manifest, of the command line, or of a saved plan. */
#ifndef QB_FLEET_FLEET_RUN_H
#define QB_FLEET_FLEET_RUN_H

#include "cli/cli.h"

struct qb_batch;

/* Opens journal and reports, runs, and reports; with --save the results become a saved plan.
 * Returns the exit code. */
int qb_fleet_run(const struct qb_cli *cli, struct qb_batch *batch);

/* With --json reports that nothing was done; returns the exit code. */
int qb_fleet_refuse(const struct qb_cli *cli, const char *what);

/* Has images of a saved plan that are one file by now fail as stale: it had them apart.  -1 when
 * memory is short; else each job has the device and inode of its file. */
int qb_fleet_twins(struct qb_batch *batch);

#endif
