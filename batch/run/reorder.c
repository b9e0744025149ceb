#include "run/reorder.h"

#include <stdlib.h>

#include "base/own.h"

/* Stands for an outcome that there was no memory for. */
static const struct qb_outcome lost = {
    .result = {.status = QB_STATUS_FAILED,
               .err = {QB_E_MEMORY, 0, QB_NOWHERE, "no memory to keep what became of this image"}}};

struct qb_hold {
    size_t n_jobs, next;
    const uint32_t *order; /* NULL: that of the jobs */
    uint32_t *came;        /* owned: the first n_came jobs, as they came; NULL: not so */
    size_t n_came;
    const struct qb_outcome *held[]; /* NULL: not there yet, or passed on */
};

struct qb_hold *qb_hold_new(size_t n_jobs)
{
    struct qb_hold *hold = calloc(1, sizeof(*hold) + n_jobs * sizeof(hold->held[0]));

    if (hold)
        hold->n_jobs = n_jobs;
    return hold;
}

void qb_hold_order(struct qb_hold *hold, const uint32_t *order)
{
    hold->order = order;
}

bool qb_hold_nothing(struct qb_hold *hold)
{
    hold->came = malloc((hold->n_jobs + 1) * sizeof(hold->came[0]));
    return hold->came != NULL;
}

/* The job whose turn is `place`. */
static size_t job_at(const struct qb_hold *hold, size_t place)
{
    if (hold->came)
        return hold->came[place];
    return hold->order ? hold->order[place] & INT32_MAX : place;
}

void qb_hold_put(struct qb_hold *hold, size_t job, struct qb_outcome *outcome)
{
    struct qb_outcome *held = malloc(sizeof(*held));

    if (held) {
        *held = *outcome;
        *outcome = (struct qb_outcome){0};
    }
    if (hold->came)
        hold->came[hold->n_came++] = (uint32_t)job;
    hold->held[job] = held ? held : &lost;
    qb_outcome_clear(outcome);
}

bool qb_hold_next(struct qb_hold *hold, size_t *job, struct qb_outcome *outcome)
{
    size_t end = hold->came ? hold->n_came : hold->n_jobs;
    const struct qb_outcome *held =
        hold->next < end ? qb_take(&hold->held[job_at(hold, hold->next)]) : NULL;

    if (!held)
        return false;
    *job = job_at(hold, hold->next++);
    *outcome = *held;
    if (held != &lost)
        free((void *)held);
    return true;
}

void qb_hold_free(struct qb_hold *hold)
{
    for (size_t i = 0; hold && i < hold->n_jobs; i++) {
        struct qb_outcome *held = (struct qb_outcome *)hold->held[i];

        if (!held || held == &lost)
            continue;
        qb_outcome_clear(held);
        free(held);
    }
    if (hold)
        free(hold->came);
    free(hold);
}
