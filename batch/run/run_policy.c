/* Decides whether a run continues: failures, interruption, a busy host.  Tells what a policy could
 * be. */
#include <stdio.h>
#include <time.h>

#include "base/own.h"
#include "host/priority.h"
#include "opener/named.h"
#include "run/running.h"

size_t qb_run_most_failures(const struct qb_batch *batch)
{
    const struct qb_policy *p = &batch->policy;

    if (p->on_error == QB_ON_ERROR_STOP)
        return 0;
    if (!p->max_failed.is_set)
        return SIZE_MAX;
    /* k images are more than P percent of n exactly when they are more than floor(n * P / 100). */
    return p->max_failed.is_percent ? batch->n_jobs * p->max_failed.n / 100 : p->max_failed.n;
}

bool qb_run_goes_on(struct qb_running *r)
{
    return !r->rolling.ends && !qb_run_ends(r) && !qb_failures_are_too_many(&r->failures);
}

static bool wait(struct qb_running *r, bool *told, const char *why)
{
    if (!*told && r->listener->notice)
        r->listener->notice(r->listener->arg, why);
    return *told = true;
}

static bool is_outside_window(struct qb_running *r)
{
    uint64_t window = r->options->dry_run ? 0 : r->limits.window;
    time_t now = time(NULL);
    char text[160];
    struct tm tm;

    if (!window || !localtime_r(&now, &tm) ||
        qb_window_is_open(window, (unsigned)(tm.tm_hour * 60 + tm.tm_min)))
        return r->told_of_window = false;
    snprintf(text, sizeof(text), "waiting: it is %02d:%02d here, which is outside of limits.window",
             tm.tm_hour, tm.tm_min);
    return wait(r, &r->told_of_window, text);
}

static bool is_too_busy(struct qb_running *r)
{
    double limit = r->limits.load_percent, now_percent;
    char text[160];

    if (limit <= 0)
        return false;
    now_percent = qb_pressure_now(r->pressure_fd);
    if (now_percent <= limit)
        return false;
    snprintf(text, sizeof(text),
             "waiting: this host waited %.0f%% of the last ten seconds for its disks "
             "(limits.load: %g%%)",
             now_percent, limit);
    return wait(r, &r->told_of_load, text);
}

bool qb_run_is_held_back(struct qb_running *r)
{
    const char *what = NULL;
    bool paused = qb_run_is_paused(r);

    if (!paused && is_outside_window(r))
        what = "limits.window";
    else if (!paused && is_too_busy(r))
        what = "limits.load";
    qb_run_waits_for(r, what);
    return paused || what;
}

void qb_run_tell_places(const struct qb_running *r)
{
    QB_AUTO(qb_buf) char *places = qb_run_places(&r->errands);
    QB_AUTO(qb_buf) char *text = NULL;

    if (!places || !r->listener->notice)
        return;
    if (asprintf(&text, "the files that the images name are within policy: {roots: %s}", places) >=
        0)
        r->listener->notice(r->listener->arg, text);
}
