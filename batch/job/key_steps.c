/* Reads the steps of a rollout. */
#include <string.h>

#include "job/keys.h"

/* Whether the step is below the one before it, as far as that can be said without the images. */
static bool is_fewer(struct qb_amount step, struct qb_amount before)
{
    return step.is_percent == before.is_percent && step.n < before.n;
}

bool qb_step_read(const struct qb_key_row *key, const char *text, const struct qb_amount *before,
                  struct qb_amount *out, struct qb_why *why)
{
    struct qb_key_value v;

    if (!qb_key_read(key, text, &v, why))
        return false;
    *out = (struct qb_amount){.n = v.n, .is_percent = v.is_marked, .is_set = true};
    if (v.n == 0)
        return qb_why_not(why, NULL, "changes no image");
    return !before || !is_fewer(*out, *before) ||
           qb_why_not(why, NULL,
                      "is fewer than the step before it; steps include those before them");
}

bool qb_steps_store(const struct qb_amount *steps, size_t n, struct qb_batch *batch,
                    struct qb_amounts *out)
{
    struct qb_amount *kept = qb_batch_block(batch, n * sizeof(*kept));

    if (!kept)
        return false;
    memcpy(kept, steps, n * sizeof(*kept));
    *out = (struct qb_amounts){kept, n};
    return true;
}

bool qb_steps_set(const struct qb_key_row *key, const char *const *texts, size_t n,
                  struct qb_batch *batch, struct qb_settings *settings, struct qb_why *why)
{
    struct qb_amount steps[QB_STEPS_MAX];

    if (n == 0 || n >= QB_STEPS_MAX)
        return qb_why_not(why, NULL, "has no step, or too many: up to 31 can be given");
    for (size_t i = 0; i < n; i++)
        if (!qb_step_read(key, texts[i], i ? &steps[i - 1] : NULL, &steps[i], why))
            return false;
    return qb_steps_store(steps, n, batch, &settings->rollout.steps) ||
           qb_why_not(why, NULL, "takes more memory than there is");
}
