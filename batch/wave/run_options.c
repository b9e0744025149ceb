#include "wave/run_options.h"

void qb_listener_tell(const struct qb_listener *listener, size_t job, struct qb_outcome *outcome)
{
    if (listener->meter) {
        atomic_fetch_add(&listener->meter->done, 1);
        qb_meter_step(listener->meter, &(struct qb_metered){0}, QB_METER_STEPS);
    }
    listener->image(listener->arg, job, outcome);
    qb_outcome_clear(outcome);
}
