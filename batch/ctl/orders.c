#include "ctl/orders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/own.h"

static double time_of_day(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct qb_act qb_ctl_act(const struct qb_ctl_request *rq, const char *what)
{
    const char *who = qb_json_get_text(rq->json, "caller");
    struct qb_act act = {.at = time_of_day(), .uid = rq->uid};

    if (who && *who)
        snprintf(act.who, sizeof(act.who), "%.79s", who);
    else
        snprintf(act.who, sizeof(act.who), "user %u", (unsigned)rq->uid);
    snprintf(act.what, sizeof(act.what), "%.79s", what);
    return act;
}

static bool note(const struct qb_ctl_request *rq, const char *what, bool must)
{
    struct qb_act act = qb_ctl_act(rq, what);

    return qb_hand_note(rq->scene->hand, &act, must);
}

char *qb_ctl_too_many(void)
{
    return qb_ctl_refuse("this run was given too many orders; it can still be stopped");
}

char *qb_ctl_pause(const struct qb_ctl_request *rq)
{
    struct qb_hand *hand = rq->scene->hand;

    if (atomic_load(&hand->ends))
        return qb_ctl_refuse("the run is ending already");
    if (atomic_load(&hand->paused))
        return qb_ctl_accept(rq, "the run is paused already");
    if (!note(rq, "pause", false))
        return qb_ctl_too_many();
    atomic_store(&hand->paused, true);
    return qb_ctl_accept(rq, "no new wave is started; images under way are finished");
}

char *qb_ctl_continue(const struct qb_ctl_request *rq)
{
    struct qb_hand *hand = rq->scene->hand;

    if (!atomic_load(&hand->paused))
        return qb_ctl_accept(rq, "the run is not paused");
    if (!note(rq, "continue", true)) /* once more than pause at most */
        return qb_ctl_too_many();
    atomic_store(&hand->paused, false);
    return qb_ctl_accept(rq, "the run continues");
}

/* A run that asks somebody at its terminal has no image under way, and only a signal ends that. */
static void end_question(const struct qb_ctl_request *rq)
{
    const char *waits_for = atomic_load(&rq->scene->hand->waits_for);

    if (waits_for && strcmp(waits_for, "rollout.ask") == 0)
        rq->scene->end_now();
}

char *qb_ctl_stop(const struct qb_ctl_request *rq)
{
    struct qb_hand *hand = rq->scene->hand;
    bool now = qb_json_get_bool(rq->json, "now");

    if (atomic_load(&hand->ends) && !now)
        return qb_ctl_accept(rq, "the run is ending already");
    if (!note(rq, now ? "stop --now" : "stop", true))
        return qb_ctl_too_many();
    atomic_store(&hand->ends, true);
    if (now)
        rq->scene->end_now();
    else
        end_question(rq);
    return qb_ctl_accept(rq, now ? "the run ends: each image is finished or left as it was"
                                 : "the run ends once the images under way are finished");
}

/* ---- skip ------------------------------------------------------------------------------------ */

#define PATIENCE_SECONDS 1.0

/* Waits for the run to record all acts, which it does between its waves: "" then, else a warning.
 */
static const char *unless_recorded(const struct qb_ctl_request *rq)
{
    const struct qb_hand *hand = rq->scene->hand;
    size_t n = atomic_load(&hand->n_acts);

    for (double end = qb_now() + PATIENCE_SECONDS; qb_now() < end;) {
        if (atomic_load(&hand->heeded) >= n)
            return "";
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    }
    return "; a kill before the end of the wave in progress would lose that";
}

/* As the manifest or a report names it, or the file that whoever asks has found at that path. */
static size_t find_image(const struct qb_ctl_request *rq, const char *path)
{
    const struct qb_batch *batch = rq->scene->batch;
    uint64_t dev = qb_json_get_number(rq->json, "dev", 0),
             ino = qb_json_get_number(rq->json, "ino", 0);

    for (size_t i = 0; i < batch->n_jobs; i++) {
        const struct qb_job *job = &batch->jobs[i];

        if (strcmp(job->path, path) == 0 || strcmp(job->path + job->named_at, path) == 0)
            return i;
    }
    for (size_t i = 0; ino && i < batch->n_jobs; i++)
        if (batch->jobs[i].ino == ino && batch->jobs[i].dev == dev)
            return i;
    return batch->n_jobs;
}

char *qb_ctl_skip(const struct qb_ctl_request *rq)
{
    QB_AUTO(qb_buf) char *path = qb_json_get_path(rq->json);
    const struct qb_batch *batch = rq->scene->batch;
    size_t job = path ? find_image(rq, path) : batch->n_jobs;
    struct qb_act act = qb_ctl_act(rq, "skip");
    char text[200];

    if (job == batch->n_jobs)
        return qb_ctl_refuse("this run does not have the image");
    if (!qb_hand_has_room(rq->scene->hand, 1))
        return qb_ctl_too_many();
    switch (qb_hand_skip(rq->scene->hand, job)) {
    case QB_HAND_BEGUN:
        return qb_ctl_refuse("the image is under way, and is not skipped any more");
    case QB_HAND_OVER:
        return qb_ctl_refuse("the image has its result already");
    case QB_HAND_SKIPPED:
        return qb_ctl_accept(rq, "the image is skipped already");
    case QB_HAND_FREE:
        break;
    }
    act.image = job + 1;
    qb_hand_note(rq->scene->hand, &act, false);
    snprintf(text, sizeof(text), "the image is left as it is, also when this run is resumed%s",
             unless_recorded(rq));
    return qb_ctl_accept(rq, text);
}
