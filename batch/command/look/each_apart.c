/* Has images read by a process that may die, and by another one when it does.
 *
 * - What it has told stays; images that it had not begun are left to the next process.
 * - Those that it had begun are suspects: the next process looks at them first, each alone.
 * - One that ends a process in which it was the first and only one has crashed.
 *
 * So two deaths settle an image; a few in a row that settle none end the command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/vec.h"
#include "look/each_fleet.h"
#include "util/signal.h"

enum { BARREN_MAX = 3 }; /* deaths in a row that settled no image */

typedef QB_VEC(size_t) jobs_vec;

struct apart {
    struct qb_each_hearer h;
    jobs_vec suspects;
    bool
        first_is_proved; /* if it ends a process as the first one: it was alone in the one before */
    jobs_vec lost;       /* what the last one had begun */
    unsigned barren;
    char how[QB_MORTAL_HOW];
};

static bool is_stopped(const struct apart *a)
{
    return qb_each_is_stopped(a->h.f);
}

static int by_number(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;

    return x < y ? -1 : x > y;
}

/* ---- after a death --------------------------------------------------------------------------- */

static bool is_in(const jobs_vec *jobs, size_t job)
{
    for (size_t i = 0; i < jobs->n; i++)
        if (jobs->items[i] == job)
            return true;
    return false;
}

/* The numbers are in memory that the process could write to. */
static void note_lost(struct apart *a)
{
    struct qb_each_fleet *f = a->h.f;

    a->lost.n = 0;
    for (size_t i = 0; i < QB_BEGUN_MAX; i++) {
        size_t job = atomic_exchange(&f->shared->begun.of[i], 0);

        if (job > 0 && job <= f->each->batch->n_jobs && !is_in(&a->lost, job - 1) &&
            !qb_answers_has(f->answers, job - 1))
            qb_vec_push(&a->lost, job - 1);
    }
    for (size_t i = 0; i < QB_BUSY_SHOWN; i++)
        atomic_store(&f->shared->meter.busy[i].job, 0);
}

static void crash(struct apart *a, size_t job, bool alone)
{
    struct qb_err err;

    qb_fail(&err, QB_E_CRASHED, QB_NOWHERE, "the process that read it %s%s", a->how,
            alone ? ", and so did one that had this image alone" : "");
    qb_each_lose(&a->h, job, &err);
}

/* Those that have no answer yet: what was lost last, and then what was not looked at again; one
 * that was alone comes first. */
static void suspect(struct apart *a)
{
    jobs_vec before = a->suspects;

    a->first_is_proved = a->lost.n == 1;
    a->suspects = a->lost;
    a->lost = (jobs_vec){0};
    for (size_t i = 0; i < before.n; i++)
        if (!is_in(&a->suspects, before.items[i]) &&
            !qb_answers_has(a->h.f->answers, before.items[i]))
            qb_vec_push(&a->suspects, before.items[i]);
    if (!a->first_is_proved && a->suspects.n > 0)
        qsort(a->suspects.items, a->suspects.n, sizeof(size_t), by_number);
    qb_vec_free(&before);
}

static void notice(const struct apart *a, const char *then)
{
    const struct qb_each_fleet *f = a->h.f;

    qb_progress_hide(f->progress);
    fprintf(stderr, "%s: note: the process that reads the images %s%s\n", f->each->program, a->how,
            then);
    qb_progress_show(f->progress);
}

static void say_what_follows(const struct apart *a)
{
    char then[120];

    if (a->suspects.n == 0)
        snprintf(then, sizeof(then), "; another one continues");
    else
        snprintf(then, sizeof(then), "; %zu image%s that it had begun %s read again%s",
                 a->suspects.n, a->suspects.n == 1 ? "" : "s", a->suspects.n == 1 ? "is" : "are",
                 a->suspects.n == 1 ? ", alone" : ", one at a time");
    notice(a, then);
}

/* No other process is started: those that it had begun have crashed. */
static void give_up(struct apart *a, const char *why)
{
    a->h.f->sum->gave_up = true;
    notice(a, why);
    for (size_t i = 0; i < a->suspects.n; i++)
        crash(a, a->suspects.items[i], false);
}

/* Whether another one continues. */
static bool bury(struct apart *a, size_t answered_before)
{
    bool proved = a->first_is_proved;

    note_lost(a);
    proved = proved && a->lost.n == 1 && a->lost.items[0] == a->suspects.items[0];
    if (proved) {
        crash(a, a->lost.items[0], true);
        a->lost.n = 0;
    }
    a->barren = a->h.answered > answered_before ? 0 : a->barren + 1;
    suspect(a);
    if (a->barren >= BARREN_MAX) {
        give_up(a, ", and so did those before it; the command ends");
        return false;
    }
    if (!proved)
        say_what_follows(a);
    return true;
}

/* ---- the images ------------------------------------------------------------------------------ */

static int start(struct apart *a)
{
    struct qb_each_fleet *f = a->h.f;
    struct qb_confining *c = f->each->confining;
    const struct qb_mortal_wish wish = {
        .body = qb_each_read_apart, .arg = f, .errands = &c->errands, .kept = -1};

    f->suspects = a->suspects.items;
    f->n_suspects = a->suspects.n;
    a->h.process.stopped = qb_signal_seen;
    qb_each_hear_anew(&a->h);
    return qb_mortal_start(&a->h.process, &wish, f->err);
}

/* An answer of which parts are shown has an end. */
static void cut_off(struct apart *a)
{
    struct qb_each_fleet *f = a->h.f;
    struct qb_err err;

    if (!qb_signal_seen() || atomic_load(&f->stdout_errno) || a->h.shown.bytes == 0 ||
        qb_answers_has(f->answers, a->h.shown.image))
        return;
    qb_fail(&err, QB_E_CANCELLED, QB_NOWHERE, "it was interrupted");
    qb_each_lose(&a->h, a->h.shown.image, &err);
}

/* One process after the other: 0, or -1 where the first could do nothing. */
static int follow(struct apart *a, bool *began)
{
    struct qb_each_fleet *f = a->h.f;

    while (!a->h.ended) {
        size_t answered = a->h.answered;

        if (start(a) < 0) {
            if (*began)
                give_up(a, "; no other one can be started; the command ends");
            return *began ? 0 : -1;
        }
        *began = true;
        f->restarted = true;
        qb_each_hear(&a->h);
        qb_mortal_end(&a->h.process, a->h.ended, a->how);
        if (a->h.misled)
            snprintf(a->how, sizeof(a->how), "told what no process of this program tells");
        if (!a->h.ended && (is_stopped(a) || !bury(a, answered)))
            break;
    }
    if (!a->h.ended || !a->h.end.failed)
        return 0;
    return qb_fail(f->err, (enum qb_code)a->h.end.code, QB_NOWHERE, "%s", a->h.end.text);
}

int qb_each_apart(struct qb_each_fleet *f, bool *began)
{
    struct apart *a = calloc(1, sizeof(*a));
    int r;

    if (!a || !qb_signal_share()) {
        free(a);
        return qb_fail_memory(f->err);
    }
    a->h.f = f;
    r = follow(a, began);
    if (r == 0)
        cut_off(a);
    qb_vec_free(&a->suspects);
    qb_vec_free(&a->lost);
    free(a);
    return r;
}
