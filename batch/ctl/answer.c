#include "ctl/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/orders.h"
#include "ctl/socket.h"
#include "util/json.h"
#include "util/json_read.h"
#include "util/text.h"

enum { PATHS_BYTES_MAX = 8192 }; /* of the images in progress that are named */

static char *line_of(struct qb_json o)
{
    size_t len;

    return qb_json_take(o, &len);
}

static struct qb_json begin(bool ok)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "answer");
    qb_json_number(&o, "version", QB_CTL_VERSION);
    qb_json_bool(&o, "ok", ok);
    return o;
}

char *qb_ctl_refuse(const char *why)
{
    struct qb_json o = begin(false);

    qb_json_text(&o, "error", why);
    return line_of(o);
}

char *qb_ctl_accept(const struct qb_ctl_request *rq, const char *text)
{
    struct qb_json o = begin(true);

    qb_json_text(&o, "run", rq->scene->batch->run_id);
    qb_json_text(&o, "text", text);
    return line_of(o);
}

/* ---- status ---------------------------------------------------------------------------------- */

/* At the end of a step: there is no image under way, and none begins before the run has looked at
 * what it was told. */
static bool is_between_steps(const struct qb_hand *hand)
{
    const char *waits_for = atomic_load(&hand->waits_for);

    return waits_for && strncmp(waits_for, "rollout.", strlen("rollout.")) == 0;
}

static const char *state_of(const struct qb_hand *hand)
{
    if (atomic_load(&hand->ends))
        return "stopping";
    if (atomic_load(&hand->paused))
        return atomic_load(&hand->rests) || is_between_steps(hand) ? "paused" : "pausing";
    return atomic_load(&hand->waits_for) ? "waiting" : "running";
}

static void put_busy(const struct qb_ctl_scene *scene, struct qb_json *o)
{
    struct qb_json list = qb_json_list();
    uint64_t now_ms = (uint64_t)(qb_now() * 1e3);
    size_t used = 0;

    for (size_t i = 0; i < QB_BUSY_SHOWN; i++) {
        const struct qb_busy *b = &scene->meter->busy[i];
        size_t job = atomic_load(&b->job);
        uint64_t since = atomic_load(&b->since_ms);
        const char *path =
            job && job <= scene->batch->n_jobs ? scene->batch->jobs[job - 1].path : "";
        struct qb_json item;

        if (!job || used + strlen(path) > PATHS_BYTES_MAX)
            continue;
        used += strlen(path);
        item = qb_json_object();
        qb_json_path(&item, path);
        qb_json_text(&item, "doing", qb_doing_name(atomic_load(&b->doing)));
        qb_json_real(&item, "seconds", now_ms > since ? (double)(now_ms - since) / 1e3 : 0);
        qb_json_append(&list, item);
    }
    qb_json_child(o, "busy", list);
}

static void put_counts(const struct qb_ctl_scene *scene, struct qb_json *o)
{
    const struct qb_meter *meter = scene->meter;
    const struct qb_hand *hand = scene->hand;
    uint64_t from = atomic_load(&meter->worked_from), written = atomic_load(&meter->written);
    double seconds = from ? qb_now() - (double)from / 1e3 : 0;

    qb_json_number(o, "images", scene->batch->n_jobs);
    qb_json_number(o, "done", atomic_load(&meter->done));
    qb_json_number(o, "failed", atomic_load(&meter->failed));
    qb_json_number(o, "under_way", atomic_load(&hand->under_way));
    qb_json_number(o, "wave", atomic_load(&hand->waves));
    if (atomic_load(&meter->steps)) {
        qb_json_number(o, "step", atomic_load(&meter->step));
        qb_json_number(o, "steps", atomic_load(&meter->steps));
    }
    qb_json_number(o, "written_bytes", written);
    qb_json_real(o, "bytes_per_second", seconds > 0 ? (double)written / seconds : 0);
}

static char *on_status(const struct qb_ctl_request *rq)
{
    const struct qb_ctl_scene *scene = rq->scene;
    const struct qb_batch *batch = scene->batch;
    struct qb_json o = begin(true);
    char at[QB_TEXT_NUMBER];

    qb_json_text(&o, "run", batch->run_id);
    qb_json_text(&o, "name", batch->name);
    qb_json_text(&o, "manifest", batch->manifest_path);
    qb_json_text(&o, "started", qb_text_time(batch->origin.started, at));
    qb_json_number(&o, "pid", (uint64_t)scene->pid);
    qb_json_text(&o, "state", state_of(scene->hand));
    qb_json_text(&o, "waits_for", atomic_load(&scene->hand->waits_for));
    put_counts(scene, &o);
    qb_ctl_put_limits(scene, &o);
    put_busy(scene, &o);
    return line_of(o);
}

/* ---- requests -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    char *(*answer)(const struct qb_ctl_request *rq);
} commands[] = {
    {"status", on_status}, {"pause", qb_ctl_pause},   {"continue", qb_ctl_continue},
    {"stop", qb_ctl_stop}, {"limits", qb_ctl_limits}, {"reload", qb_ctl_reload},
    {"skip", qb_ctl_skip},
};

static char *answer_to(const struct qb_ctl_request *rq)
{
    const char *name = qb_json_get_text(rq->json, "command");

    if (qb_json_get_number(rq->json, "version", 0) != QB_CTL_VERSION)
        return qb_ctl_refuse("the request is of another version than this qbatch");
    for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].answer(rq);
    return qb_ctl_refuse("this qbatch does not support the command");
}

char *qb_ctl_answer(const struct qb_ctl_scene *scene, const char *request, size_t len, uid_t uid)
{
    struct qb_parsed json;
    char *text;

    if (!qb_json_parse(request, len, &json))
        return qb_ctl_refuse("the request is not an object of JSON");
    text = answer_to(&(struct qb_ctl_request){.scene = scene, .json = &json, .uid = uid});
    qb_json_drop(&json);
    return text;
}
