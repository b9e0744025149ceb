#include "undoing/undo_overlays.h"

#include <stdlib.h>
#include <string.h>

#include "backing/tree.h"
#include "base/own.h"
#include "outcome/outcome.h"
#include "util/text.h"

/* The run's images, for their family: jobs in the order of `traces`. */
struct all {
    struct qb_batch batch;
    struct qb_family family;
    const struct qb_trace **traces;
    size_t *job_of; /* of the undo, by the place in the history; QB_NO_JOB: it is not in it */
};

static void free_all(struct all *a)
{
    qb_family_free(&a->family);
    qb_batch_free(&a->batch);
    free(a->traces);
    free(a->job_of);
}

bool qb_undo_shows(const struct qb_result *result)
{
    const struct qb_info *a = result->before, *b = result->after;

    return a && b &&
           (!qb_text_same(a->backing_file, b->backing_file) ||
            !qb_text_same(a->backing_fmt, b->backing_fmt) || qb_is_raw(a) != qb_is_raw(b));
}

/* Whether the run changed some image that this does not undo. */
static bool some_stay(const struct qb_takeback *t)
{
    size_t changed = 0;

    for (size_t i = 0; i < t->history->traces.n; i++)
        changed += qb_trace_is_changed(&t->history->traces.items[i]);
    for (size_t i = 0; i < t->batch->n_jobs; i++)
        changed -= qb_trace_is_changed(t->traces[i]);
    return changed > 0;
}

static int add_all(struct all *a, const struct qb_takeback *t, struct qb_err *err)
{
    const struct qb_history *h = t->history;
    struct qb_request none;

    a->traces = calloc(h->traces.n + 1, sizeof(*a->traces));
    a->job_of = malloc((h->traces.n + 1) * sizeof(*a->job_of));
    if (!a->traces || !a->job_of)
        return qb_fail_memory(err);
    for (size_t i = 0; i < h->traces.n; i++)
        a->job_of[i] = QB_NO_JOB;
    for (size_t i = 0; i < t->batch->n_jobs; i++)
        a->job_of[t->traces[i] - h->traces.items] = i;
    qb_request_init(&none);
    a->batch.policy = t->batch->policy;
    for (size_t i = 0; i < h->traces.n; i++) {
        const struct qb_trace *trace = &h->traces.items[i];

        if (a->job_of[i] == QB_NO_JOB && !qb_trace_is_changed(trace))
            continue;
        if (!qb_batch_add(&a->batch, trace->path, 0, &none))
            return qb_fail_memory(err);
        a->traces[a->batch.n_jobs - 1] = trace;
    }
    return 0;
}

/* The job of the undo that the member is; QB_NO_JOB: none. */
static size_t job_of(const struct all *a, const struct qb_takeback *t, size_t member)
{
    size_t job = a->family.members.items[member].job;

    return job == QB_NO_JOB ? QB_NO_JOB : a->job_of[a->traces[job] - t->history->traces.items];
}

/* An image that stays, for all that are below it. */
static void note_below(const struct all *a, const struct qb_takeback *t, size_t member,
                       const char **out)
{
    const struct qb_member *members = a->family.members.items;
    size_t below = members[member].base, n = a->family.members.n;

    for (; below != QB_NO_MEMBER && n > 0; below = members[below].base, n--) {
        size_t job = job_of(a, t, below);

        if (job != QB_NO_JOB)
            out[job] = a->traces[members[member].job]->path;
    }
}

int qb_undo_overlays_find(const struct qb_takeback *t, struct qb_sched *sched, const char ***out,
                          struct qb_err *err)
{
    __attribute__((cleanup(free_all))) struct all a = {.traces = NULL};

    *out = NULL;
    qb_batch_init(&a.batch);
    if (!some_stay(t))
        return 0;
    *out = calloc(t->batch->n_jobs + 1, sizeof(**out));
    if (!*out)
        return qb_fail_memory(err);
    a.batch.deadly = t->batch->deadly;
    if (add_all(&a, t, err) < 0 ||
        qb_family_read(&a.batch, sched, t->options.stopped, &a.family, err) < 0)
        return -1;
    for (size_t i = 0; i < a.family.members.n; i++)
        if (a.family.members.items[i].job != QB_NO_JOB && job_of(&a, t, i) == QB_NO_JOB)
            note_below(&a, t, i, *out);
    return 0;
}
