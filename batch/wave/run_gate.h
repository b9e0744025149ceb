/* Runs the command of a rollout's gate: rollout.gate.command. */
#ifndef QB_WAVE_RUN_GATE_H
#define QB_WAVE_RUN_GATE_H

#include "job/job.h"

struct qb_gate_numbers {
    unsigned step, steps; /* the step under way, from 1 */
    uint64_t changed, failed;
};

/* As qb_child_run.  `journal`: the path of the run's, or NULL. */
int qb_gate_run(const struct qb_batch *batch, const char *journal,
                const struct qb_gate_numbers *numbers, struct qb_io *io, struct qb_err *err);

#endif
