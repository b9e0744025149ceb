/* What the command line makes of the batch that a manifest came to: --set, --tags, --skip-tags. */
#ifndef QB_COMMAND_OVERRIDES_H
#define QB_COMMAND_OVERRIDES_H

#include "cli/cli.h"

/* Applies them.  -1 after saying on stderr what is wrong: a mistake in --set, a tag that no entry
 * has, or no image that is left. */
int qb_narrow(const struct qb_cli *cli, struct qb_batch *batch);

/* What options say of the policy and the limits wins over the manifest. */
void qb_override(const struct qb_cli *cli, struct qb_batch *batch);

#endif
