/* Confines a run that may take long before it opens any file, so that each of its images is opened
 * by the helper.  One of a few quick images is confined by its first wave (wave_confine.c). */
#include <sys/stat.h>

#include "host/confining.h"
#include "run/running.h"
#include "wave/wave_slot.h"

/* In units of 512 bytes.  What is less is amended in the time in which a person finds the run. */
enum { QUICK_BLOCKS = 64 << 11 };

/* What the run waits for, or what it reads or writes that its images do not take on disk. */
static bool is_held_back(const struct qb_batch *batch)
{
    const struct qb_limits *limits = &batch->limits;
    const struct qb_policy *policy = &batch->policy;

    return batch->rollout.steps.n > 0 || limits->rate || limits->iops || limits->window ||
           limits->load_percent > 0 || policy->on_locked == QB_ON_LOCKED_WAIT ||
           policy->extend_command.n > 0;
}

static bool writes_zeros(const struct qb_request *rq)
{
    return rq->zero_method == QB_ZEROED_WRITE || rq->preallocation;
}

/* Anything but a regular file takes what it is. */
static bool is_quick(const struct qb_job *job)
{
    struct stat st;

    if (writes_zeros(&job->request) || job->request.verify == QB_VERIFY_CONTENT)
        return false;
    return stat(job->path, &st) < 0 || (S_ISREG(st.st_mode) && st.st_blocks < QUICK_BLOCKS);
}

bool qb_run_takes_long(const struct qb_batch *batch)
{
    bool quick = batch->n_jobs <= QB_CONFINED_IMAGES && !is_held_back(batch);

    for (size_t i = 0; i < batch->n_jobs && quick; i++)
        quick = is_quick(&batch->jobs[i]);
    return !quick;
}

static struct qb_confine_wish wish_of(const struct qb_running *r)
{
    return qb_wave_confine_wish(r->options, r->batch, r->owners);
}

int qb_run_enter(struct qb_running *r)
{
    const struct qb_confine_wish wish = wish_of(r);

    return qb_confining_enter(r->options->confining, r->sched, &wish, r->err);
}

int qb_run_confine(struct qb_running *r)
{
    const struct qb_confine_wish wish = wish_of(r);
    struct qb_confining *c = r->options->confining;

    if (!qb_confining_is_due(c))
        return 0;
    if (!c->early) { /* after the images are opened */
        qb_sched_hold(r->sched, true);
        return 0;
    }
    return qb_confining_begin(c, r->sched, &wish, r->err);
}
