/* Shows how far a run came with its rollout. */
#include "fleet/status_images.h"

#include <stdio.h>

#include "util/text.h"

/* Images that are as the step made them. */
static uint64_t changed_in(const struct qb_history *h, unsigned step)
{
    uint64_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += h->traces.items[i].step == step && qb_trace_is_changed(&h->traces.items[i]);
    return n;
}

void qb_status_steps(const struct qb_history *h)
{
    char buf[QB_TEXT_NUMBER];

    if (!h->steps)
        return;
    printf("steps     %u of %u passed", h->steps_passed, h->steps);
    if (h->steps_passed + 1 == h->steps)
        fputs(", the last is not judged", stdout);
    if (h->asked)
        printf("; step %u waits for an answer", h->asked);
    if (h->step_failed) {
        printf("; step %u failed", h->step_failed);
        if (h->step_why && h->step_why[0]) {
            fputs(": ", stdout);
            qb_text_safe(stdout, h->step_why);
        }
    }
    for (unsigned i = 1; i <= h->steps; i++)
        printf("%s%s", i == 1 ? "; images of each: " : ", ", qb_text_count(changed_in(h, i), buf));
    putchar('\n');
}

void qb_status_steps_json(struct qb_json *o, const struct qb_history *h)
{
    struct qb_json rollout, changed;

    if (!h->steps)
        return;
    rollout = qb_json_object();
    changed = qb_json_list();
    qb_json_number(&rollout, "steps", h->steps);
    qb_json_number(&rollout, "passed", h->steps_passed);
    qb_json_bool(&rollout, "asked", h->asked != 0);
    if (h->step_failed) {
        qb_json_number(&rollout, "failed", h->step_failed);
        qb_json_text(&rollout, "why", h->step_why);
    }
    for (unsigned i = 1; i <= h->steps; i++) {
        struct qb_json step = qb_json_object();

        qb_json_number(&step, "step", i);
        qb_json_number(&step, "changed", changed_in(h, i));
        qb_json_append(&changed, step);
    }
    qb_json_child(&rollout, "changed", changed);
    qb_json_child(o, "rollout", rollout);
}
