/* `plan --save`: a listener between a dry run and its output, which notes the results in a plan. */
#ifndef QB_FLEET_SAVING_H
#define QB_FLEET_SAVING_H

#include "cli/cli.h"
#include "host/confining.h"
#include "run/run.h"
#include "saved/plan_write.h"

struct qb_saving {
    struct qb_listener inner;
    struct qb_plan_writer *plan;
};

/* Puts itself in front of *listener.  -1 with *err: there is no plan. */
int qb_saving_begin(struct qb_saving *saving, const struct qb_cli *cli,
                    const struct qb_batch *batch, struct qb_confining *confining,
                    struct qb_listener *listener, struct qb_err *err);

/* Ends the plan.  The exit code: `code`, unless there is no plan. */
int qb_saving_end(struct qb_saving *saving, const struct qb_cli *cli, int code);

#endif
