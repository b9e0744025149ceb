#include "rollout/draw.h"

#include <string.h>

#include "base/num.h"

void qb_drawing_begin(struct qb_drawing *d, const struct qb_rollout *rollout, uint64_t images,
                      const struct qb_rollout_past *past)
{
    *d = (struct qb_drawing){.changed = past->changed[0]};
    memcpy(d->later, past->changed, sizeof(d->later));
    d->n_steps = qb_step_targets(rollout, past->named ? past->named : images, d->targets);
    while (d->step < QB_MIN(past->passed, d->n_steps - 1))
        qb_drawing_next(d);
}

void qb_drawing_next(struct qb_drawing *d)
{
    d->changed += d->later[++d->step];
}

bool qb_drawing_is_last(const struct qb_drawing *d)
{
    return d->step == d->n_steps - 1;
}

/* The last step takes whatever is left: images that an earlier attempt changed, and that are not as
 * it left them, count once. */
bool qb_drawing_goes_on(const struct qb_drawing *d)
{
    return d->along || qb_drawing_is_last(d) || d->changed + d->open < d->targets[d->step];
}

void qb_drawing_drew(struct qb_drawing *d, bool along)
{
    d->open++;
    d->along = along;
}

void qb_drawing_passed(struct qb_drawing *d, bool along)
{
    d->along &= along;
}

void qb_drawing_pulled(struct qb_drawing *d)
{
    d->open++;
}

void qb_drawing_over(struct qb_drawing *d, bool changed)
{
    d->open--;
    d->changed += changed;
}

uint64_t qb_drawing_may_fail(const struct qb_drawing *d, const struct qb_rollout *rollout)
{
    const struct qb_amount *most = &rollout->gate.max_failed;
    uint64_t before = d->step ? d->targets[d->step - 1] : 0;

    if (qb_drawing_is_last(d))
        return UINT64_MAX;
    return most->is_percent ? (d->targets[d->step] - before) * most->n / 100 : most->n;
}
