/* Records what a wave is about to do, and has appended. */
#include <stdio.h>
#include <string.h>

#include "journal/clones.h"
#include "run/running.h"

void qb_run_tell_of_journal(struct qb_running *r, int errnum)
{
    char text[200];

    if (!errnum || r->forgetful || !r->listener->notice)
        return;
    snprintf(text, sizeof(text), "the journal cannot be written: %s", strerror(errnum));
    r->listener->notice(r->listener->arg, text);
    r->forgetful = true;
}

void qb_run_note_plans(struct qb_running *r, struct qb_wave *w)
{
    struct qb_state *state = r->options->state;
    bool first = false;
    int errnum;

    for (size_t i = 0; i < w->n; i++)
        if (w->slots[i].step == QB_STEP_PLANNED)
            qb_held_plans(w->slots[i].held, w->slots[i].amend, w->slots[i].again);
    if (!state)
        return;
    for (size_t i = 0; i < w->n; i++) {
        const struct qb_job *job = &r->batch->jobs[w->slots[i].job];

        if (w->slots[i].step != QB_STEP_PLANNED || w->slots[i].again)
            continue;
        qb_state_planned(state, r->batch, job, w->slots[i].amend,
                         qb_run_step_of(r, w->slots[i].job), qb_run_is_judged(r));
        first |= qb_state_must_record_first(&job->request);
    }
    errnum = first ? qb_journal_sync(&state->journal) : qb_journal_write(&state->journal);
    qb_wave_unrecorded(w, errnum);
    qb_run_tell_of_journal(r, errnum);
}

static void note_append(struct qb_running *r, const struct qb_slot *s)
{
    const struct qb_job *job = &r->batch->jobs[s->job];

    if (s->step != QB_STEP_APPENDED || s->again)
        return;
    if (job->clone_stays && job->clone_behind)
        qb_clones_stay(r->options->state, r->batch, job);
    else if (!job->clone_stays && qb_amend_result(s->amend)->backed_up)
        qb_clones_made(r->options->state, r->batch, job, &s->clone);
    qb_state_appended(r->options->state, r->batch, job, s->amend);
}

void qb_run_note_appends(struct qb_running *r, struct qb_wave *w)
{
    struct qb_state *state = r->options->state;
    int errnum;

    if (!state || (!r->batch->undo_kept && r->batch->policy.backup == QB_BACKUP_NONE))
        return;
    for (size_t i = 0; i < w->n; i++)
        note_append(r, &w->slots[i]);
    errnum = qb_journal_write(&state->journal);
    qb_wave_unrecorded(w, errnum);
    qb_run_tell_of_journal(r, errnum);
}
