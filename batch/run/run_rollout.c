/* Draws the images of a rollout, step by step. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backing/tree.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "base/digest.h"
#include "run/running.h"
#include "opener/look.h"

void qb_rolling_free(struct qb_rolling *rolling)
{
    free(qb_take(&rolling->order));
    free(qb_take(&rolling->steps));
}

/* ---- the order ------------------------------------------------------------------------------- */

/* The path as the manifest names it: the same wherever the run is started. */
static uint64_t hash_of(const struct qb_job *job)
{
    const char *named = job->path + job->named_at;

    return qb_digest_of(named, strlen(named)).low;
}

/* A block device, whose size this does not tell, comes after all files. */
static uint64_t size_of(const struct qb_opener *by, const char *path)
{
    struct stat st;

    return qb_look(by, path, &st) == 0 && !S_ISBLK(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
}

static uint64_t key_of(const struct qb_opener *by, const struct qb_batch *batch,
                       const struct qb_job *job)
{
    switch (batch->rollout.order) {
    case QB_ROLLOUT_HASH:
        return hash_of(job);
    case QB_ROLLOUT_SIZE:
        return size_of(by, job->path);
    case QB_ROLLOUT_MANIFEST:
        break;
    }
    return 0;
}

/* What each job is based on, by the headers as they are now. */
static int find_parents(struct qb_running *r, uint32_t *parents, struct qb_err *err)
{
    struct qb_family family;
    int rc = qb_family_read(r->batch, r->sched, r->options->stopped, &family, err);

    if (rc == 0)
        rc = qb_family_order(&family, r->batch, r->sched, err);
    for (size_t i = 0; i < r->batch->n_jobs; i++)
        parents[i] = QB_NO_PARENT;
    for (size_t i = 0; rc == 0 && i < family.members.n; i++) {
        const struct qb_member *m = &family.members.items[i];

        if (m->job != QB_NO_JOB && m->after != QB_NO_MEMBER &&
            family.members.items[m->after].job != QB_NO_JOB)
            parents[m->job] = (uint32_t)family.members.items[m->after].job;
    }
    qb_family_free(&family);
    return rc;
}

static int make_order(struct qb_running *r, struct qb_err *err)
{
    size_t n = r->batch->n_jobs;
    QB_AUTO(qb_buf) uint64_t *keys = malloc((n + 1) * sizeof(*keys));
    QB_AUTO(qb_buf) uint32_t *parents = malloc((n + 1) * sizeof(*parents));

    if (!keys || !parents)
        return qb_fail_memory(err);
    if (find_parents(r, parents, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        keys[i] = key_of(qb_io_opener(qb_sched_io(r->sched)), r->batch, &r->batch->jobs[i]);
    r->rolling.order = qb_draw_order(n, keys, parents);
    r->rolling.steps = calloc(n + 1, sizeof(*r->rolling.steps));
    return r->rolling.order && r->rolling.steps ? 0 : qb_fail_memory(err);
}

size_t qb_run_job_at(const struct qb_running *r, size_t place)
{
    return qb_run_is_rollout(r) ? qb_draw_job(r->rolling.order[place]) : place;
}

/* ---- steps ----------------------------------------------------------------------------------- */

void qb_run_publish_steps(const struct qb_running *r)
{
    struct qb_meter *meter = r->listener->meter;

    if (r->listener->rollout)
        *r->listener->rollout = r->rolling.sum;
    if (meter) {
        atomic_store(&meter->steps, r->rolling.sum.n);
        atomic_store(&meter->step, r->rolling.sum.step + 1);
    }
}

static const char step_failed[] = "left as it was: the step of the rollout before it failed";

/* Too many failures in a step end the run like too many in all of it.  A dry run looks at all. */
void qb_run_begin_step(struct qb_running *r)
{
    const struct qb_drawing *d = &r->rolling.drawing;
    uint64_t before = atomic_load(&r->failures.n), most = qb_run_most_failures(r->batch),
             may = qb_drawing_may_fail(d, &r->batch->rollout), gate;

    gate = may > SIZE_MAX - before ? SIZE_MAX : before + may;
    r->rolling.sum.step = d->step;
    r->failures.most = most;
    r->failures.why = NULL;
    if (!r->options->dry_run && gate < most) {
        r->failures.most = gate;
        r->failures.why = step_failed;
    }
    qb_run_publish_steps(r);
}

int qb_run_roll(struct qb_running *r, struct qb_err *err)
{
    struct qb_rolling *rolling = &r->rolling;

    if (r->batch->rollout.steps.n == 0 || r->batch->n_jobs == 0)
        return 0;
    if (make_order(r, err) < 0)
        return -1;
    if (r->options->relay)
        r->listener->order(r->listener->arg, rolling->order, r->batch->n_jobs);
    else
        qb_hold_order(r->hold, rolling->order);
    qb_drawing_begin(&rolling->drawing, &r->batch->rollout, r->batch->n_jobs, &r->batch->past);
    rolling->sum.n = rolling->drawing.n_steps;
    for (unsigned i = 0; i < rolling->sum.n; i++)
        rolling->sum.steps[i].images = rolling->drawing.targets[i];
    for (unsigned i = 0; i < rolling->drawing.step; i++)
        rolling->sum.steps[i].verdict = QB_GATE_PASSED;
    qb_run_begin_step(r);
    return 0;
}

/* ---- drawing --------------------------------------------------------------------------------- */

static void draw(struct qb_rolling *rolling, size_t job)
{
    rolling->steps[job] = (uint8_t)(rolling->drawing.step + 1);
    rolling->sum.steps[rolling->drawing.step].drawn++;
}

size_t qb_run_take(struct qb_running *r, size_t most)
{
    struct qb_rolling *rolling = &r->rolling;
    size_t n;

    if (!qb_run_is_rollout(r))
        return qb_queue_take(r->queue, qb_now(), most, r->taken);
    n = qb_queue_take_waiting(r->queue, qb_now(), most, r->taken);
    for (; n < most && rolling->cursor < r->batch->n_jobs; rolling->cursor++) {
        uint32_t place = rolling->order[rolling->cursor];
        size_t job = qb_draw_job(place);

        if (!qb_queue_is_fresh(r->queue, job)) {
            qb_drawing_passed(&rolling->drawing, place & QB_DRAW_ALONG);
            continue;
        }
        if (!qb_drawing_goes_on(&rolling->drawing) ||
            !qb_queue_take_fresh(r->queue, job, r->taken, &n))
            break;
        draw(rolling, job);
        qb_drawing_drew(&rolling->drawing, place & QB_DRAW_ALONG);
    }
    return n;
}

void qb_run_after(struct qb_running *r, size_t job, size_t other, bool must)
{
    if (qb_run_is_rollout(r) && qb_queue_is_fresh(r->queue, other)) {
        draw(&r->rolling, other);
        qb_drawing_pulled(&r->rolling.drawing);
    }
    qb_queue_after(r->queue, job, other, must);
}

unsigned qb_run_step_of(const struct qb_running *r, size_t job)
{
    const struct qb_job *of = &r->batch->jobs[job];

    if (!qb_run_is_rollout(r))
        return 0;
    return (of->was_changed || of->may_be_changed) && of->step
               ? of->step
               : r->rolling.steps[job] & ~QB_STEP_CHANGED;
}

/* Whether the image counts, and did not before: it was changed, also where verification then failed
 * or an earlier attempt was killed before it could say so. */
static bool counts(const struct qb_running *r, size_t job, const struct qb_result *result)
{
    const struct qb_job *of = &r->batch->jobs[job];

    if (of->was_changed)
        return false;
    return result->status == QB_STATUS_CHANGED || result->status == QB_STATUS_WOULD_CHANGE ||
           result->committed || (result->status == QB_STATUS_UNCHANGED && of->may_be_changed);
}

enum qb_verify qb_run_verifies(const struct qb_running *r, size_t job)
{
    unsigned step = r->rolling.steps ? r->rolling.steps[job] & ~QB_STEP_CHANGED : 0;

    return step && step < r->rolling.sum.n ? r->batch->rollout.gate.verify : QB_VERIFY_NONE;
}

/* Whatever the gate lets fail: an image that is not what it should be is too many. */
static void refuse(struct qb_running *r)
{
    r->failures.most = 0;
    r->failures.why = step_failed;
}

void qb_run_rolled(struct qb_running *r, size_t job, struct qb_outcome *outcome)
{
    struct qb_rolling *rolling = &r->rolling;
    struct qb_step_sum *sum;
    bool changed;

    if (!qb_run_is_rollout(r))
        return;
    outcome->step = qb_run_step_of(r, job);
    outcome->verify = qb_run_verifies(r, job);
    if (!rolling->steps[job])
        return;
    changed = counts(r, job, &outcome->result);
    sum = &rolling->sum.steps[rolling->steps[job] - 1];
    sum->changed += changed;
    rolling->steps[job] |= changed ? QB_STEP_CHANGED : 0;
    sum->failed += outcome->result.status == QB_STATUS_FAILED;
    if (outcome->result.err.code == QB_E_VERIFY && qb_run_is_judged(r))
        refuse(r);
    qb_drawing_over(&rolling->drawing, changed);
}
