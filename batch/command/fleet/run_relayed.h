/* A run that may take long (qb_run_takes_long) and gives up its rights: its images are read by a
 * process of its own, and where that dies, by another one (run/relay_run.h). */
#ifndef QB_FLEET_RUN_RELAYED_H
#define QB_FLEET_RUN_RELAYED_H

#include "fleet/run_sandbox.h"
#include "run/run.h"

bool qb_fleet_is_relayed(const struct qb_run_sandbox *sandbox);

/* As qb_fleet_run_served. */
int qb_fleet_run_relayed(struct qb_run_sandbox *sandbox, struct qb_run_options *options,
                         struct qb_batch *batch, struct qb_keep *keep, struct qb_output *out,
                         const struct qb_listener *listener, struct qb_err *err);

#endif
