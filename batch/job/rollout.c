/* Computes the sizes of a rollout's steps. */
#include "job/rollout.h"

#include "base/num.h"

const char *const qb_gate_names[QB_GATE_COUNT] = {
    [QB_GATE_NONE] = "none",
    [QB_GATE_PASSED] = "passed",
    [QB_GATE_FAILED] = "failed",
    [QB_GATE_ASKED] = "asked",
};

uint64_t qb_step_images(struct qb_amount amount, uint64_t images)
{
    if (!amount.is_percent)
        return amount.n;
    return images / 100 * amount.n + qb_div_up(images % 100 * amount.n, 100);
}

unsigned qb_step_targets(const struct qb_rollout *rollout, uint64_t images,
                         uint64_t targets[QB_STEPS_MAX])
{
    uint64_t last = 0;
    unsigned n = 0;

    for (; n < rollout->steps.n && n < QB_STEPS_MAX - 1; n++) {
        last = qb_max(last, qb_min(qb_step_images(rollout->steps.items[n], images), images));
        targets[n] = last;
    }
    targets[n++] = images;
    return n;
}
