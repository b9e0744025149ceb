#include "fleet/run_ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "ctl/server.h"
#include "host/priority.h"
#include "job/keys.h"
#include "wave/relay.h"
#include "wave/wave.h"
#include "util/signal.h"

/* What the serving thread asks for. */
struct reached {
    struct qb_run_sandbox *sandbox;
    int pressure; /* see priority.h; -1: the host does not tell */
};

static int permits(void *arg, const struct qb_limits *limits, struct qb_err *err)
{
    const struct reached *reached = arg;

    if (limits->load_percent <= 0 || qb_pressure_now(reached->pressure) >= 0)
        return 0;
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                   "this host does not tell how busy its disks are (no /proc/pressure/io), which "
                   "limits.load asks for");
}

static int reload(void *arg, struct qb_limits *limits, char print[QB_ACT_PRINT], struct qb_err *err)
{
    const struct reached *reached = arg;
    struct qb_manifest_limits now;

    if (qb_run_sandbox_reload(reached->sandbox, &now, err) < 0)
        return -1;
    *limits = now.limits;
    memcpy(print, now.print, QB_ACT_PRINT);
    return 0;
}

static void note(const struct qb_listener *listener, const struct qb_err *why)
{
    char text[sizeof(why->text) + 60];

    if (!listener->notice)
        return;
    snprintf(text, sizeof(text), "%s; qbatch ctl cannot reach this run", why->text);
    listener->notice(listener->arg, text);
}

struct serving {
    struct qb_ctl_server *server;
    const struct qb_listener *listener;
};

static void start_to_serve(void *arg)
{
    const struct serving *s = arg;
    struct qb_err why;

    if (s->server && qb_ctl_start(s->server, &why) < 0)
        note(s->listener, &why);
}

static int run_served(const struct qb_ctl_scene *scene, struct qb_run_sandbox *sandbox,
                      struct qb_run_options *options, struct qb_output *out,
                      const struct qb_listener *listener, struct qb_err *err)
{
    struct serving serving = {.listener = listener};
    struct qb_err why;
    int r;

    if (qb_ctl_open(sandbox->keep->dir, scene, &serving.server, &why) < 0)
        note(listener, &why);
    options->ready = start_to_serve;
    options->ready_arg = &serving;
    r = qb_run(out->batch, options, listener, err);
    options->ready = NULL;
    qb_ctl_end(serving.server);
    if (serving.server)
        qb_run_sandbox_unlink(sandbox);
    return r;
}

/* A later process of a relay begins with the limits that were set in an earlier one. */
static void take_up(const struct qb_ctl_scene *scene)
{
    const struct qb_hand *hand = scene->hand;
    struct qb_limits *limits = scene->limits;
    double left;

    for (size_t i = 0; i < atomic_load(&hand->n_acts); i++)
        if (hand->acts[i].key)
            qb_limit_set(hand->acts[i].key, strchr(hand->acts[i].what, '=') + 1, limits);
    qb_pace_init(&scene->hand->pace, (double)limits->rate, (double)limits->iops);
    left = scene->begun + limits->deadline_seconds - qb_now();
    if (limits->deadline_seconds > 0)
        left > 0 ? scene->deadline(left) : scene->end_now();
}

/* People can reach a run that is recorded, by a thread of its own.  One of a few quick images has
 * none where it gives up its rights: it may have no helper to remove the name of the socket. */
bool qb_fleet_is_served(const struct qb_run_sandbox *sandbox)
{
    const struct qb_confining *c = &sandbox->confining;

    return sandbox->keep->kept && (c->early || !qb_confining_is_due(c));
}

int qb_fleet_run_with(struct qb_run_sandbox *sandbox, struct qb_run_options *options,
                      struct qb_output *out, const struct qb_listener *listener,
                      struct qb_hand *hand, struct qb_err *err)
{
    const struct qb_relay *relay = options->relay;
    struct reached reached = {.sandbox = sandbox};
    struct qb_limits limits = out->batch->limits;
    const struct qb_ctl_scene scene = {.batch = out->batch,
                                       .meter = listener->meter,
                                       .hand = hand,
                                       .owner = geteuid(),
                                       .pid = relay ? relay->parent : getpid(),
                                       .limits = &limits,
                                       .begun = relay ? relay->begun : qb_now(),
                                       .confined = qb_confining_is_due(&sandbox->confining),
                                       .end_now = qb_signal_end,
                                       .deadline = qb_signal_deadline,
                                       .permits = permits,
                                       .reload = reload,
                                       .arg = &reached};
    int r;

    if (out->batch->n_jobs > 1)
        qb_waves_prepare(out->batch->n_jobs); /* before there is another thread */
    if (!hand)
        return qb_run(out->batch, options, listener, err);
    if (relay)
        take_up(&scene);
    reached.pressure = qb_pressure_open();
    options->hand = hand;
    r = run_served(&scene, sandbox, options, out, listener, err);
    options->hand = NULL;
    if (reached.pressure >= 0)
        close(reached.pressure);
    return r;
}

int qb_fleet_run_served(struct qb_run_sandbox *sandbox, struct qb_run_options *options,
                        struct qb_output *out, const struct qb_listener *listener,
                        struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_hand *hand = NULL; /* tens of KiB: not on the stack */
    int r;

    if (!qb_fleet_is_served(sandbox))
        return qb_fleet_run_with(sandbox, options, out, listener, NULL, err);
    hand = calloc(1, sizeof(*hand));
    if (!hand || !qb_hand_open(hand, out->batch->n_jobs, &out->batch->limits))
        return qb_fail_memory(err);
    r = qb_fleet_run_with(sandbox, options, out, listener, hand, err);
    if (!qb_orders_of(hand, out->batch, &out->sum.orders) && listener->notice)
        listener->notice(listener->arg, "out of memory: the reports lack orders of qbatch ctl");
    qb_hand_close(hand);
    return r;
}
