#include "record/rollout_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

void qb_rollout_json(struct qb_json *o, const struct qb_rollout_sum *sum)
{
    struct qb_json rollout = qb_json_object(), steps = qb_json_list();

    for (unsigned i = 0; i < sum->n; i++) {
        const struct qb_step_sum *of = &sum->steps[i];
        struct qb_json step = qb_json_object();

        qb_json_number(&step, "images", of->images);
        qb_json_number(&step, "drawn", of->drawn);
        qb_json_number(&step, "changed", of->changed);
        qb_json_number(&step, "failed", of->failed);
        qb_json_text(&step, "verdict", qb_gate_names[of->verdict]);
        qb_json_append(&steps, step);
    }
    qb_json_number(&rollout, "step", sum->step + 1);
    qb_json_text(&rollout, "why", sum->why[0] ? sum->why : NULL);
    qb_json_child(&rollout, "steps", steps);
    qb_json_child(o, "rollout", rollout);
}

/* A verdict that a later version has is none to this one. */
static enum qb_gate_says verdict_of(const char *name)
{
    for (int i = 0; name && i < QB_GATE_COUNT; i++)
        if (strcmp(name, qb_gate_names[i]) == 0)
            return (enum qb_gate_says)i;
    return QB_GATE_NONE;
}

/* n counts also those for which there is no place. */
static void read_step(void *arg, const struct qb_parsed *step)
{
    struct qb_rollout_sum *sum = arg;

    if (sum->n < QB_STEPS_MAX)
        sum->steps[sum->n] =
            (struct qb_step_sum){.images = qb_json_get_number(step, "images", 0),
                                 .drawn = qb_json_get_number(step, "drawn", 0),
                                 .changed = qb_json_get_number(step, "changed", 0),
                                 .failed = qb_json_get_number(step, "failed", 0),
                                 .verdict = verdict_of(qb_json_get_text(step, "verdict"))};
    sum->n += sum->n <= QB_STEPS_MAX;
}

struct qb_rollout_sum *qb_rollout_read(const struct qb_parsed *o)
{
    struct qb_parsed rollout = qb_json_get_child(o, "rollout");
    uint64_t step = qb_json_get_number(&rollout, "step", 0);
    const char *why = qb_json_get_text(&rollout, "why");
    QB_AUTO(qb_buf) struct qb_rollout_sum *sum = NULL;

    if (!rollout.value)
        return NULL;
    sum = calloc(1, sizeof(*sum));
    if (!sum)
        return NULL;
    qb_json_each_object(&rollout, "steps", read_step, sum);
    if (sum->n > QB_STEPS_MAX || step < 1 || step > sum->n)
        return NULL;
    sum->step = (unsigned)step - 1;
    snprintf(sum->why, sizeof(sum->why), "%s", why ? why : "");
    return qb_take(&sum);
}
