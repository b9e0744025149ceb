/* Runs a batch that people can reach meanwhile, by qbatch ctl. */
#ifndef QB_FLEET_RUN_CTL_H
#define QB_FLEET_RUN_CTL_H

#include "fleet/run_sandbox.h"
#include "run/run.h"

/* qb_run, with a control socket where the run is recorded.  What is asked meanwhile is in the
 * summary then. */
int qb_fleet_run_served(struct qb_run_sandbox *sandbox, struct qb_run_options *options,
                        struct qb_output *out, const struct qb_listener *listener,
                        struct qb_err *err);

/* Its parts, for a process of a relay: whether there is such a socket; and the run with what people
 * ask in `hand`, which is open; NULL: nobody can ask. */
bool qb_fleet_is_served(const struct qb_run_sandbox *sandbox);
int qb_fleet_run_with(struct qb_run_sandbox *sandbox, struct qb_run_options *options,
                      struct qb_output *out, const struct qb_listener *listener,
                      struct qb_hand *hand, struct qb_err *err);

#endif
