#include "undoing/left.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/own.h"
#include "wave/relay.h"

static void add(struct qb_left *left, const struct qb_batch *batch, enum qb_suspect which)
{
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (!batch->jobs[i].settled && batch->jobs[i].suspect == which)
            left->order[left->n++] = i;
}

int qb_left_find(struct qb_left *left, const struct qb_batch *batch, struct qb_err *err)
{
    *left = (struct qb_left){.order = malloc((2 * batch->n_jobs + 1) * sizeof(*left->order))};
    if (!left->order)
        return qb_fail_memory(err);
    add(left, batch, QB_SUSPECT_FIRST);
    add(left, batch, QB_SUSPECT);
    left->n_alone = left->n;
    add(left, batch, QB_SUSPECT_NOT);
    left->n_together = left->n;
    return 0;
}

void qb_left_free(struct qb_left *left)
{
    free(qb_take(&left->order));
}

size_t qb_left_wave(const struct qb_left *left, size_t first, size_t most)
{
    bool alone = first < left->n_alone || first >= left->n_together;

    return alone ? 1 : QB_MIN(left->n_together - first, most);
}

void qb_left_again(struct qb_left *left, size_t job)
{
    left->order[left->n++] = job;
}
