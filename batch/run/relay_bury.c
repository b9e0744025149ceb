/* What a relay's calling process does when the other one has died. */
#include <stdio.h>
#include <string.h>

#include "backing/deadly.h"
#include "run/relay_parent.h"

enum { BARREN_MAX = 3 }; /* deaths in a row that settled no image */

void qb_relay_wait(struct qb_relay_parent *p)
{
    qb_mortal_end(&p->process, p->ended, p->how);
    if (p->misled)
        snprintf(p->how, QB_MORTAL_HOW, "told what no process of this program tells");
}

/* ---- what follows ---------------------------------------------------------------------------- */

static struct qb_held *find_facts(struct qb_relay_parent *p, size_t job)
{
    qb_vec_each (h, &p->facts)
        if (atomic_load(&h->job) == job + 1)
            return h;
    return NULL;
}

/* Whether the process before may have amended it: the same old header afterwards proves that it did
 * not. */
static bool may_be_amended(const struct qb_held *before, const struct qb_held *h)
{
    bool again = atomic_load(&h->phase) >= QB_HELD_FLIPS &&
                 qb_digest_equal(h->old_sector, before->old_sector);

    return before->may_be_amended || (atomic_load(&before->phase) >= QB_HELD_FLIPS && !again);
}

/* Of an image that was begun again, and no more, the process before knew more. */
static void note_lost_one(struct qb_relay_parent *p, const struct qb_held *h)
{
    size_t job = atomic_load(&h->job) - 1;
    struct qb_held *known = find_facts(p, job);
    bool amended = known && known->amended;
    bool flipped = known && may_be_amended(known, h);

    p->lost[p->n_lost++] = job;
    if (!known)
        qb_vec_push(&p->facts, *h);
    else if (atomic_load(&h->phase) >= QB_HELD_PLANNED) {
        *known = *h;
        known->amended = known->amended || amended;
        known->may_be_amended = known->may_be_amended || flipped;
    }
}

static void note_lost(struct qb_relay_parent *p)
{
    p->n_lost = 0;
    for (size_t i = 0; i < QB_HELD_MAX; i++) {
        struct qb_held h = p->relay.held[i];
        size_t job = atomic_load(&h.job);

        if (job > 0 && job <= qb_relay_jobs(p) && !p->settled[job - 1])
            note_lost_one(p, &h);
    }
    memset(p->relay.held, 0, QB_HELD_MAX * sizeof(*p->relay.held));
}

/* What the display counts of images that have no result begins anew. */
static void mend_meter(const struct qb_relay_parent *p)
{
    struct qb_meter *m = p->run->listener->meter;
    size_t known = m ? atomic_load(&m->known) : 0;
    uint64_t work = known ? atomic_load(&m->work) / known * p->told : 0;

    if (!m)
        return;
    atomic_store(&m->done, p->told);
    atomic_store(&m->failed, p->relay.failed);
    atomic_store(&m->known, known ? p->told : 0);
    atomic_store(&m->work, work);
    atomic_store(&m->worked, work);
    for (size_t i = 0; i < QB_BUSY_SHOWN; i++)
        atomic_store(&m->busy[i].job, 0);
}

/* An image whose journal does not know how far the process came with it. */
static void note_facts(struct qb_job *job, const struct qb_held *h)
{
    if (atomic_load(&h->phase) < QB_HELD_PLANNED)
        return;
    job->may_be_changed = true;
    job->cuts_data = job->cuts_data || h->cuts_data;
    if (h->appends && (!job->abandoned_from || h->length < job->abandoned_from))
        job->abandoned_from = h->length;
    if (!job->size_added)
        return;
    job->request.size = h->virtual_size;
    job->request.size_is = QB_SIZE_AT_LEAST;
    job->request.allow_shrink = false;
}

static void crash(struct qb_relay_parent *p, size_t job, bool alone)
{
    struct qb_job *of = &p->run->batch->jobs[job];
    struct qb_state *state = p->run->options->state;
    struct qb_meter *meter = p->run->listener->meter;
    struct qb_held none = {.appends = true, .phase = QB_HELD_PLANNED}, *facts = find_facts(p, job);
    const struct qb_relay_death death = {p->how, alone, p->run->flipped};
    struct qb_outcome outcome;

    qb_relay_crashed(of, facts ? facts : &none, &death, &outcome);
    if (state) {
        struct qb_seen seen = qb_seen_at(of->path);

        qb_state_over(state, p->run->batch, of, &outcome.result, &seen, 0);
        qb_journal_write(&state->journal);
    }
    if (meter) {
        atomic_fetch_add(&meter->done, 1);
        atomic_fetch_add(&meter->failed, 1);
    }
    qb_relay_settle(p, job, &outcome);
}

/* One image alone, and the first of its process, which read no other image's header. */
static bool is_proved(const struct qb_relay_parent *p)
{
    return p->careful && p->n_lost == 1 && p->headers == 0 &&
           p->run->batch->jobs[p->lost[0]].suspect == QB_SUSPECT_FIRST;
}

static bool has_suspects(const struct qb_relay_parent *p)
{
    for (size_t i = 0; i < qb_relay_jobs(p); i++)
        if (p->run->batch->jobs[i].suspect != QB_SUSPECT_NOT)
            return true;
    return false;
}

static void suspect(struct qb_relay_parent *p)
{
    struct qb_job *jobs = p->run->batch->jobs;

    for (size_t i = 0; i < qb_relay_jobs(p); i++)
        if (jobs[i].suspect == QB_SUSPECT_FIRST)
            jobs[i].suspect = QB_SUSPECT;
    for (size_t i = 0; i < p->n_lost; i++) {
        const struct qb_held *facts = find_facts(p, p->lost[i]);

        if (facts && !p->run->options->state)
            note_facts(&jobs[p->lost[i]], facts);
        jobs[p->lost[i]].suspect = p->n_lost == 1 ? QB_SUSPECT_FIRST : QB_SUSPECT;
    }
    p->careful = has_suspects(p);
}

static void tell_of_death(const struct qb_relay_parent *p, const char *then)
{
    char text[400];

    snprintf(text, sizeof(text), "the process that works on the images %s%s", p->how, then);
    qb_relay_notice(p, text);
}

static bool is_stopped(const struct qb_relay_parent *p)
{
    return p->run->options->stopped && p->run->options->stopped();
}

/* What the run ends for, without another process; NULL: another one goes on. */
static const char *why_no_other(const struct qb_relay_parent *p)
{
    if (p->run->batch->rollout.steps.n > 0 && (p->headers == 0 || p->order))
        return "; the rollout ends";
    if (is_stopped(p))
        return "; the run was to end";
    if (p->barren >= BARREN_MAX)
        return ", and so did those before it; the run ends";
    return NULL;
}

static void say_what_was_lost(const struct qb_relay_parent *p, char *out, size_t size)
{
    if (p->headers > 0)
        snprintf(out, size, "; %zu header%s that it was reading %s read again%s", p->headers,
                 p->headers == 1 ? "" : "s", p->headers == 1 ? "is" : "are",
                 p->headers == 1 ? ", alone" : ", one at a time");
    else if (p->n_lost == 0)
        snprintf(out, size, "; another one goes on");
    else
        snprintf(out, size, "; %zu image%s that it had begun %s looked at again%s", p->n_lost,
                 p->n_lost == 1 ? "" : "s", p->n_lost == 1 ? "is" : "are",
                 p->n_lost == 1 ? ", alone" : ", one at a time");
}

bool qb_relay_bury(struct qb_relay_parent *p)
{
    char then[120];
    const char *ends;
    struct qb_err err;
    bool open;

    note_lost(p);
    p->headers = qb_deadly_bury(p->run->batch->deadly, qb_relay_jobs(p), p->how);
    mend_meter(p);
    p->deaths++;
    open = p->run->again(p->run->arg, p->how, &err) == 0;
    if (!open)
        qb_relay_notice(p, err.text);
    if (open && is_proved(p)) {
        snprintf(then, sizeof(then), ", of the same image as before, which has failed: crashed");
        crash(p, p->lost[0], true);
        p->n_lost = 0;
    } else {
        say_what_was_lost(p, then, sizeof(then));
    }
    p->barren = p->told > p->told_before || p->headers > 0 ? 0 : p->barren + 1;
    ends = open ? why_no_other(p) : "; the run ends";
    tell_of_death(p, ends ? ends : then);
    suspect(p); /* where the run ends, those have crashed */
    if (p->run->listener->pause)
        p->run->listener->pause(p->run->listener->arg);
    return !ends;
}

/* ---- the end of the run ---------------------------------------------------------------------- */

/* A step in which a process died did not pass. */
void qb_relay_end_rollout(struct qb_relay_parent *p)
{
    struct qb_rollout_sum *sum = p->run->listener->rollout;
    struct qb_state *state = p->run->options->state;

    if (!sum || sum->n == 0 || p->run->options->dry_run || is_stopped(p))
        return;
    sum->steps[sum->step].verdict = QB_GATE_FAILED;
    snprintf(sum->why, sizeof(sum->why), "the process that works on the images %s", p->how);
    if (!state)
        return;
    qb_state_step(state, sum, sum->step + 1);
    qb_journal_write(&state->journal);
}

/* Images that nobody begins any more. */
void qb_relay_leave_rest(struct qb_relay_parent *p)
{
    const char *why = p->ended ? p->last.text : "the run ended before this image";

    for (size_t i = 0; i < qb_relay_jobs(p) && p->told < qb_relay_jobs(p); i++) {
        struct qb_outcome outcome = {.result.status = QB_STATUS_INTERRUPTED};

        if (p->run->batch->jobs[i].suspect != QB_SUSPECT_NOT)
            crash(p, i, false);
        if (p->settled[i])
            continue;
        qb_outcome_fail(&outcome, QB_E_CANCELLED, why);
        qb_relay_settle(p, i, &outcome);
    }
    if (p->run->listener->pause)
        p->run->listener->pause(p->run->listener->arg);
}
