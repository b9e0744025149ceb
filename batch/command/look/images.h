/* Collects the images that a command reads into a batch: its operands, a manifest's, or a list's.
 */
#ifndef QB_LOOK_IMAGES_H
#define QB_LOOK_IMAGES_H

#include "cli/cli.h"
#include "job/job.h"

/* -1 after messages on standard error; *what then says so to a program.  Free the batch in either
 * case. */
int qb_images_collect(const struct qb_cli *cli, struct qb_batch *batch, const char **what);

#endif
